"""Processes that are started, watched for a while, and killed."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from support import python

WORKER = Path(__file__).parent / "crash_worker.py"
LONGER = 1.3
"""How much longer than usual a call may go on before it is killed."""


@contextlib.contextmanager
def seeded():
    """A random generator, whose seed is said where a test fails."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    yield random.Random(seed)


class Killer:
    """Starts processes that work, and kills each at a random moment. A context manager."""

    def __init__(self, rng):
        self._rng = rng
        self._takes = {}
        """How long a kind of call takes, in seconds."""

    def __enter__(self):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._mother = python(WORKER, bufsize=1, cwd=WORKER.parent, start_new_session=True, **pipes)
        return self

    def __exit__(self, error, *_):
        if error is not None:
            # Somebody may still be at work.
            os.killpg(self._mother.pid, signal.SIGKILL)
        else:
            self._mother.stdin.close()
            self._mother.stdin = None
        _, err = self._mother.communicate(timeout=60)
        if error is None:
            assert self._mother.returncode == 0, err
            assert not err, err

    def _line(self):
        line = self._mother.stdout.readline()
        assert line.endswith("\n"), self._mother.stderr.read()
        return line.rstrip("\n").split("\t")

    def run_and_kill(self, role, *arguments):
        """Let a process work, and kill it: what it said, as steps that were begun and that ended.

        A step is a list of its number and kind, or of its number and what came of it.
        """
        print(role, *arguments, sep="\t", file=self._mother.stdin)
        word, child = self._line()
        assert word == "child"
        said = [self._line() for _ in range(self._rng.choice([1, 2, 3, 6]))]
        while said[-1][0] == "end":
            said.append(self._line())
        if said[-1][0] == "begin":
            # Some are killed between two calls, or in the next one.
            usual = self._takes.get(said[-1][2], 0.01)
            time.sleep(self._rng.random() * LONGER * usual)
            os.kill(int(child), signal.SIGKILL)
        while said[-1][0] != "ended":
            said.append(self._line())
        assert said.pop() == ["ended", "-9"], said
        for (_, number, kind), after in zip(said[::2], said[1::2], strict=False):
            assert after[:2] == ["end", number]
            self._takes[kind] = (self._takes.get(kind, 0.01) + float(after[2])) / 2
        return said
