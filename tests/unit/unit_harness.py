"""What several unit tests share: a page store followed commit by commit, and child processes."""

import contextlib
import os
import subprocess
import sys
import textwrap

import cyborg_embedded
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore

KEY = bytes(range(32))
PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(cyborg_embedded.__file__)))


class PagedStore:
    """An index file of any page size, read and written as a session does it."""

    def __init__(self, path, *, page_size=256, metric="euclidean", dimension=4):
        self.path = str(path)
        root = Root(sequence=1, metric=metric, dimension=dimension)
        PageStore.create(self.path, KEY, root, page_size=page_size)
        self.store = PageStore.open(self.path, KEY, timeout=5)
        self.snapshot = None

    @contextlib.contextmanager
    def read(self):
        with self.store.read(self.snapshot) as view:
            self.snapshot = view.snapshot
            yield view

    def write(self, work):
        with self.store.environment.writer(5):
            with self.read():
                pass
            result, self.snapshot = self.store.write(self.snapshot, work)
        return result

    def close(self):
        self.store.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def child_environment():
    paths = [PACKAGE_PARENT, os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start_child(script, *arguments):
    """A Python process that runs `script`, with pipes to talk to it."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )


def run_child(script, *arguments):
    """Run `script` in a Python process to its end; what it printed. Any failure fails the test."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=child_environment(),
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.strip()


@contextlib.contextmanager
def child(script, *arguments):
    """A child that has printed its first line, `ready`; it is killed when the block ends."""
    process = start_child(script, *arguments)
    try:
        line = process.stdout.readline()
        assert line.strip() == "ready", f"the child said {line!r}"
        yield process
    finally:
        process.kill()
        process.stdin.close()
        process.wait()
        process.stdout.close()
