"""Other processes, told what to do, and gone when a test ends."""

import contextlib
import subprocess
from pathlib import Path

import numbered
import pytest
from support import python

WORKER = Path(__file__).parent / "process_worker.py"


class Other:
    """Another process that does what it is told."""

    def __init__(self, *arguments):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        path = {"cwd": WORKER.parent}
        self.child = python(WORKER, *arguments, **pipes, **path)
        self.pid = self.child.pid

    def answer(self):
        return self.child.stdout.readline().strip()

    def does(self, line):
        self.child.stdin.write(f"{line}\n")
        self.child.stdin.flush()
        return self.answer()

    def ended(self):
        """What it says in the end, its last lines; that it ends well."""
        out, err = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, err
        return out

    def finish(self):
        """Let its standard input end."""
        self.child.stdin.close()
        self.child.stdin = None

    def kill(self):
        self.child.kill()
        self.child.communicate(timeout=60)


@pytest.fixture
def others():
    """Starts processes, which are killed in the end."""
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            other = Other(*arguments)
            stack.callback(other.kill)
            return other

        yield start


@pytest.fixture
def place(tmp_path):
    """A folder with an index that goes through numbered states."""
    numbered.make(tmp_path / "indexes")
    return tmp_path / "indexes"
