"""An index to be mutated, and the process that opens what was made of it."""

import json
import os
import select
import shutil
import subprocess
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
from hostile_worker import DIMENSION, ask_all
from support import KEY, TESTS, make_index, python

from cyborg_embedded import Client

WORKER = TESTS / "hostile" / "hostile_worker.py"
SECONDS = 10.0
LEFT = {".lock", "notes.cyb", "notes.cyb-lock", "notes.cyb-writer"}


class Opener:
    """A process that opens files, one after another."""

    def __enter__(self):
        self.child = python(
            WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()

    def ask(self, folder, name, seconds=SECONDS, *, untrusted=True):
        """What it answers of the index in a folder; `name` is what a failure is to name."""
        self.child.stdin.write(json.dumps([str(folder), {"untrusted": untrusted}]) + "\n")
        self.child.stdin.flush()
        ready, _, _ = select.select([self.child.stdout], [], [], seconds)
        line = self.child.stdout.readline() if ready else ""
        if not line:
            code = self.child.poll() if not ready else self.child.wait(seconds)
            self.child.kill()
            _, err = self.child.communicate()
            message = f"{name}: " + ("no answer in time" if not ready else f"ended by {code}")
            raise AssertionError(f"{message}\n{err}")
        return json.loads(line)


def make_case(folder):
    """A file with all that there is in it, and what it answers, now and a commit ago."""
    path = folder / "notes.cyb"
    make_index(folder, "notes", KEY, dimension=DIMENSION)
    rng = np.random.default_rng(3)
    copy = folder / "copy"
    answers = []

    def upsert(index, numbers):
        vectors = rng.normal(size=(len(numbers), DIMENSION))
        metadata = [{"n": n, "tag": ("odd", "even")[n % 2]} if n % 5 else None for n in numbers]
        contents = [(None, f"text {n}", b"\x00" * 3000, "long" * (n * 40))[n % 4] for n in numbers]
        index.upsert([f"i{n}" for n in numbers], vectors, metadata, contents)

    def note():
        # A copy is opened: as it is asked, an index changes nothing.
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        shutil.copyfile(path, copy / "notes.cyb")
        answers.append(ask_all(copy))

    with Client(folder).load_index("notes", index_key=KEY, indexing="manual") as index:
        upsert(index, range(60))
        index.delete([f"i{n}" for n in range(0, 60, 7)])
        for start in range(50, 110, 20):
            upsert(index, range(start, start + 20))
        index.optimize()
        index.delete([f"i{n}" for n in range(80, 90)])
        for start in range(100, 125, 5):
            upsert(index, range(start, start + 5))
            note()
    for earlier, later in pairwise(answers):
        assert all(earlier[name] != later[name] for name in ("ids", "items", "all", "sequence"))
        assert not [answer for answer in later.values() if answer[0] != "is"]
    return SimpleNamespace(pristine=path.read_bytes(), commits=[answers[-1], answers[-2]])


def judge(case, answers, name):
    """Assert that there are errors of this library, and right answers of one commit."""
    wrong = [answer[1] for answer in answers.values() if answer[0] == "wrong"]
    assert not wrong, f"{name}: {wrong[0]}"
    given = {question: answer for question, answer in answers.items() if answer[0] == "is"}
    of_one = [given.items() <= commit.items() for commit in case.commits]
    assert any(of_one), f"{name}: {sorted(given.items() - case.commits[0].items())}"


def place(folder, data):
    """A folder with nothing but this file in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "notes.cyb"
    path.write_bytes(data)
    return path


def check_left(folder, name):
    """Assert that no copy was left."""
    left = set(os.listdir(folder))
    assert left <= LEFT, f"{name}: {left - LEFT}"
