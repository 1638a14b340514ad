"""A process that is killed during a rekey leaves the index under the old key or under the new one,
and whole.
"""

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from rekey_harness import LEFT, NAME, Custodian, files, key_number, put, temporary, varied
from support import check_items, python

from cyborg_embedded import WrongKeyError

WORKER = Path(__file__).parent / "rekey_worker.py"
STEPS = {
    "first commit": 0,
    "block": 0,
    "check": 0,
    "lock file": 0,
    "rename": 1,
    "sync": 1,
}
"""Where a process is killed, and which key opens the index then."""


@pytest.fixture(scope="module")
def items():
    return varied(24, 1100)


@pytest.fixture(scope="module")
def made(tmp_path_factory, items):
    """A folder with an index that has all kinds of items and a graph."""
    folder = tmp_path_factory.mktemp("made") / "indexes"
    with Custodian(folder).create(dimension=24, navigator_dimensions=16) as index:
        put(index, items)
        index.optimize()
    return folder


def key_of(folder, candidates):
    """The number of the one key among these that opens the index."""
    opening = []
    for number in candidates:
        custodian = Custodian(folder)
        custodian.number = number
        try:
            custodian.load().close()
        except WrongKeyError:
            continue
        opening.append(number)
    assert len(opening) == 1, f"of {candidates} these open it: {opening}"
    return opening[0]


def check_whole(folder, number, items):
    """All is there, under this key, in a graph; what was left behind goes with the next one."""
    custodian = Custodian(folder)
    custodian.number = number
    with custodian.load() as index:
        check_items(index, items)
        assert index.list_ids() == list(items)
        assert index.describe()["indexed_rows"] == len(items)
        custodian.client.create_index("next", index_key=key_number(99)).close()
        assert not temporary(folder)
        custodian.client.delete_index("next", index_key=key_number(99))
        index.compact()
        check_items(index, items)
    assert files(folder) == LEFT


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(made, folder, items, step):
    """Killed before the new file has its name, the index is the old one; after it, the new one."""
    shutil.copytree(made, folder)
    child = python(WORKER, "die at", folder, step, stderr=subprocess.PIPE)
    _, err = child.communicate(timeout=60)
    assert child.returncode == -9, err
    assert bool(temporary(folder)) or STEPS[step]
    assert key_of(folder, (0, 1)) == STEPS[step]
    check_whole(folder, STEPS[step], items)


def run_and_kill(rng, folder, number):
    """Let a process rekey from key to key, and kill it at random: the keys of which one must be that
    of the index.
    """
    with python(
        WORKER, "for ever", folder, number, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        lines = [child.stdout.readline() for _ in range(rng.choice([1, 1, 2, 5]))]
        time.sleep(rng.random() * rng.choice([0.005, 0.05, 0.3]))
        alive = child.poll() is None
        child.kill()
        out, err = child.stdout.read(), child.stderr.read()
    assert alive, err
    assert not err, err
    lines += [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
    word, last = lines[-1].split()
    return (int(last), int(last) + 1) if word == "begin" else (int(last),)


def killed(made, folder, items, rounds):
    shutil.copytree(made, folder)
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    rng, number = random.Random(seed), 0
    for _ in range(rounds):
        number = key_of(folder, run_and_kill(rng, folder, number))
        custodian = Custodian(folder)
        custodian.number = number
        with custodian.load() as index:
            check_items(index, items)
        assert files(folder) - temporary(folder) <= LEFT
        assert custodian.client.list_indexes() == [NAME]
    check_whole(folder, number, items)


def test_killed_on_the_way(made, folder, items):
    """Killed at any moment: one of the two keys opens it, and all is there."""
    killed(made, folder, items, 5)


@pytest.mark.slow
def test_killed_again_and_again(made, folder, items):
    """So it is after many kills."""
    killed(made, folder, items, 30)
