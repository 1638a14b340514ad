"""A program may end however it likes, with indexes open and threads at work on them."""

import random
import subprocess
import threading
from pathlib import Path

import pytest
from support import KEY, python, run_python

from cyborg_embedded import Client

WORKER = Path(__file__).parent / "leaving_worker.py"
WAYS = {"end": 0, "exit": 3, "error": 1, "at once": 4}
"""How the main thread ends, and with what code the process does."""
SOON = 10
"""Seconds that an end may take."""


def left(folder, how, delay):
    """Let a process leave: what its thread was told is written."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(WORKER, folder, how, delay, cwd=WORKER.parent, **pipes) as child:
        lines = [child.stdout.readline() for _ in range(3)]
        watch = threading.Timer(SOON + delay, child.kill)
        watch.start()
        # Not by `communicate`: what has been read ahead would be lost.
        out, err = child.stdout.read(), child.stderr.read()
        child.wait()
        watch.cancel()
    assert child.returncode == WAYS[how], err
    if how == "error":
        assert err.startswith("Traceback (most recent call last):\n"), err
        assert err.endswith("\nRuntimeError: of the application\n"), err
        assert err.count("Traceback") == 1, err
    else:
        assert not err
    return "".join([*lines, out]).splitlines()


def check_left(folder, told):
    """All that was told is there, and nothing half done."""
    with Client(folder) as client:
        with client.load_index("built", index_key=KEY, lock_timeout=0) as built:
            assert built.verify().ok
            assert built.list_ids() == [f"row {number}" for number in range(1000)]
        with client.load_index("written", index_key=KEY, lock_timeout=0) as written:
            assert written.verify().ok
            ids = written.list_ids()
            assert ids[: len(told)] == told
            assert ids[len(told) :] in ([], [f"more {len(told)}"])
            written.upsert(["after"], [[1.0] * 4])
        client.delete_index("built", index_key=KEY, lock_timeout=0)


@pytest.mark.parametrize("how", WAYS)
def test_leaving(folder, how):
    """It ends soon, as it wanted to, and says nothing of it; all that was acknowledged is there."""
    check_left(folder, left(folder, how, 0.05))


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_leaving_again_and_again(tmp_path, how):
    """So it is at many moments."""
    for number in range(20):
        folder = tmp_path / str(number)
        check_left(folder, left(folder, how, random.uniform(0, 0.2)))


OUTLIVING = """
import atexit, sys, threading
import numpy as np
from support import KEY
from cyborg_embedded import Client

index = Client(sys.argv[1]).create_index("notes", index_key=KEY, dimension=96)
spread = np.float32(0.9) ** np.arange(96, dtype=np.float32)
vectors = np.random.default_rng(2).standard_normal((3000, 96)).astype(np.float32) * spread

def work():
    if threading.current_thread() is not threading.main_thread():
        threading.main_thread().join()
    ids = [str(row) for row in range(len(vectors))]
    index.upsert(ids, vectors, metadata=[{"n": row} for row in range(len(vectors))])
    index.optimize()
    index.upsert(["more"], vectors[:1] + 9)
    near = index.query_arrays(vectors[:300], top_k=1)[0]
    some = index.query_arrays(vectors[:300], top_k=1, filters={"n": {"$lt": 2900}})[0]
    print(sum(found[0] == wanted for found, wanted in zip(near, ids)) > 290,
          sum(found[0] == wanted for found, wanted in zip(some, ids)) > 290,
          index.describe()["indexed_rows"])
    index.close()

if sys.argv[2] == "thread":
    threading.Thread(target=work).start()
else:
    atexit.register(work)
"""


@pytest.mark.parametrize("where", ["thread", "atexit"])
def test_work_after_the_main_thread(tmp_path, where):
    """Who still works when the main thread has ended, and there are no more threads to be had, can
    do all that he could before.
    """
    status, out, err = run_python(OUTLIVING, str(tmp_path), where)
    assert (status, err) == (0, "")
    assert out == "True True 3000\n"
