"""Processes that are made out of one that has an index open."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support import KEY, python

from cyborg_embedded import Client, LockedError

PATIENCE = 30
WORKER = Path(__file__).parent / "children_worker.py"


@contextlib.contextmanager
def ended(child):
    """A process, which is gone in the end, and its children with it."""
    with child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(folder, method):
    """A handle is no use in a child: inherited it is closed, and it is never pickled, nor is a
    client. A child opens the index itself.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {"cwd": WORKER.parent, "start_new_session": True, **pipes}
    with ended(python(WORKER, folder, method, **options)) as child:
        out, err = child.communicate(timeout=PATIENCE)
    assert not err, err
    assert (child.returncode, out) == (0, "fine\n")
    with Client(folder).load_index("notes", index_key=KEY) as index:
        assert index.verify().ok
        assert len(index) == 10


ENDING = """
import os, sys
from support import KEY
from cyborg_embedded import Client, LockedError
index = Client(sys.argv[1]).load_index("notes", index_key=KEY)
other = Client(sys.argv[1]).load_index("other", index_key=KEY)
with index._session.writing():
    for how in sys.argv[2:]:
        child = os.fork()
        if not child:
            if how == "closing":
                index.close()
            if how == "at once":
                os._exit(0)
            if how == "using":
                with Client(sys.argv[1]).load_index("other", index_key=KEY) as own:
                    own.upsert(["child"], [[1.0, 2.0]])
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
    print("forked", flush=True)
    sys.stdin.readline()
index.upsert(["parent"], [[1.0, 2.0]])
print(*index.list_ids(), *other.list_ids(), flush=True)
sys.stdin.readline()
"""


def test_the_end_of_a_child_gives_up_no_lock(folder):
    """The locks of a process outlive the children that are forked beside them: nobody else may
    write while it writes, nor remove what it has open.
    """
    client = Client(folder)
    for name in ("notes", "other"):
        client.create_index(name, index_key=KEY, dimension=2).close()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    pipes["start_new_session"] = True
    ways = ("ending", "closing", "using", "at once")
    with ended(python("-c", ENDING, folder, *ways, **pipes)) as parent:
        assert parent.stdout.readline() == "forked\n", parent.stderr.read()
        with client.load_index("notes", index_key=KEY, lock_timeout=0.05) as index:
            assert refusal(lambda: index.upsert(["x"], [[0.0, 1.0]])) == parent.pid
        print(file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "parent child\n", parent.stderr.read()
        for name in ("notes", "other"):
            refusal(lambda name=name: client.delete_index(name, index_key=KEY, lock_timeout=0.05))
        out, err = parent.communicate("\n", timeout=PATIENCE)
        assert (parent.returncode, out, err) == (0, "", "")
    for name in ("notes", "other"):
        with client.load_index(name, index_key=KEY) as index:
            assert index.verify().ok
            assert len(index) == 1


def refusal(call):
    """Who holds the lock that a call is refused for."""
    with pytest.raises(LockedError) as caught:
        call()
    return caught.value.pid
