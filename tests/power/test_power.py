"""Whenever the power goes, an index is at the commit before or after, whole; and what was
acknowledged stays.
"""

import json
import os
import random
import shutil
import subprocess

import numpy as np
import pytest
from images import all_images
from power_worker import digest
from recorder import Done, Recorder
from support import TESTS, make_index, python

from cyborg_embedded import Client

KEYS = [bytes([number]) * 32 for number in range(1, 4)]
DIMENSION = 5
NAME = "notes"
FEW, MANY = 30, 300
LEFT = {".lock"} | {f"{NAME}.cyb{suffix}" for suffix in ("", "-lock", "-writer")}


class Story:
    """Calls on one folder, one after another, and what is in the index after each of them."""

    def __init__(self, folder):
        self.folder = folder
        self.recorder = Recorder(folder)
        self.states = []
        self.backups = {}
        self.rng = np.random.default_rng(4)

    def done(self, state):
        self.states.append(state)
        self.recorder.events.append(Done(len(self.states) - 1))

    def upsert(self, index, numbers, size):
        vectors = self.rng.normal(size=(len(numbers), DIMENSION))
        contents = [b"%d" % n * (size if n % 3 else 1) for n in numbers]
        index.upsert([f"i{n}" for n in numbers], vectors, [{"n": n} for n in numbers], contents)

    def back_up(self, index, name, number):
        index.backup(self.folder / name)
        self.backups[name] = (KEYS[number], digest(index))

    def tell(self):
        """Make the index, and change it in each way."""
        self.done(None)
        make_index(self.folder, NAME, KEYS[0], dimension=DIMENSION)
        self.done((0, digest_of_nothing()))
        client = Client(self.folder)
        with client.load_index(NAME, index_key=KEYS[0], indexing="manual") as index:
            for number, call in enumerate(self.calls(index)):
                call()
                self.done((number // 8, digest(index)))

    def calls(self, index):
        """What is done, eight calls under each key."""
        for key in KEYS[1:]:
            start = 40 * len(self.states)
            yield lambda s=start: self.upsert(index, range(s, s + 50), 900)
            yield lambda s=start: self.upsert(index, range(s + 40, s + 60), 100)
            yield lambda s=start: index.delete([f"i{n}" for n in range(s, s + 30, 2)])
            yield index.optimize
            yield lambda s=start: self.upsert(index, range(s + 10, s + 20), 9000)
            yield lambda s=start, k=key: self.back_up(index, f"{s}.copy", KEYS.index(k) - 1)
            yield index.compact
            yield lambda s=start: index.delete([f"i{s + 41}"])
            index.rekey(key)
            # The state after a change of the key is that before it, under the new one.
            self.done((KEYS.index(key), digest(index)))


def digest_of_nothing():
    """That of an index without items."""
    from hashlib import sha256

    return sha256(b"[]").hexdigest()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("power"))
    with pytest.MonkeyPatch.context() as patch, told.recorder.watching(patch):
        told.tell()
    return told


def judge(story, acknowledged, found, image):
    """Assert that an index is as after the last call that had returned, or the one that had begun."""
    possible = story.states[acknowledged : acknowledged + 2]
    if NAME not in found:
        assert None in possible, f"call {acknowledged}: the index is gone"
        return
    number, content, problems = found[NAME]
    assert not problems, f"call {acknowledged}: {problems}, of {sorted(image)}"
    assert (number, content) in possible, f"call {acknowledged}: neither before nor after"


def lose_power(story, folder, seed, count):
    """Open so many folders that a loss of power may leave."""
    worker = TESTS / "power" / "power_worker.py"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    certain = len([event for event in story.recorder.events if isinstance(event, Done)])
    images = all_images(story.recorder.events, random.Random(seed), count)
    with python(worker, **pipes) as child:
        for number, (acknowledged, image) in enumerate(images):
            place = folder / str(number)
            place.mkdir()
            for name, data in image.items():
                (place / name).write_bytes(data)
            keys = [key.hex() for key in KEYS]
            print(json.dumps([str(place), keys]), file=child.stdin, flush=True)
            line = child.stdout.readline()
            assert line, f"image {number} of seed {seed}: {child.communicate()[1]}"
            if number < certain:
                # With everything lost that was not certain, what was acknowledged is there.
                acknowledged_alone = [story.states[acknowledged]] * 2
                judge_one(story, acknowledged, acknowledged_alone, json.loads(line), image)
            else:
                judge(story, acknowledged, json.loads(line), image)
            left = {name for name in os.listdir(place) if not name.partition(".copy")[1]}
            assert left <= LEFT, f"image {number} of seed {seed}: {left - LEFT}"
            shutil.rmtree(place)
        child.kill()


def judge_one(story, acknowledged, possible, found, image):
    """`judge`, with the states that are possible given."""
    only = Story(story.folder)
    only.states = [None] * acknowledged + possible
    judge(only, acknowledged, found, image)


def test_loss_of_power(story, tmp_path):
    """A loss of power leaves the commit before or after, and never undoes what had returned."""
    lose_power(story, tmp_path, 1, FEW)


@pytest.mark.slow
def test_loss_of_power_at_many_moments(story, tmp_path):
    """So it is at many moments, with other writes lost each time."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    lose_power(story, tmp_path, seed, MANY)


def test_backups_are_whole(story, tmp_path):
    """What has the name of a backup after a loss of power is all of it."""
    seen = {}
    for _, image in all_images(story.recorder.events, random.Random(2), 200):
        for name in story.backups.keys() & image.keys():
            seen.setdefault((name, image[name]), None)
    assert {name for name, _ in seen} == set(story.backups)
    for number, (name, data) in enumerate(seen):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / f"{NAME}.cyb").write_bytes(data)
        key, content = story.backups[name]
        with Client(tmp_path / str(number)).load_index(NAME, index_key=key) as index:
            assert index.verify().ok
            assert digest(index) == content
