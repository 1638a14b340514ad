"""Signals that interrupt a process at random moments of its calls."""

import random
import subprocess
from pathlib import Path

import pytest
from crash_model import KINDS
from support import python

WORKER = Path(__file__).parent / "interrupt_worker.py"


@pytest.mark.slow
def test_interrupted_again_and_again(folder):
    """A call that is interrupted has happened as a whole or not at all, and its handle goes on, or
    is closed; nothing is left behind, and nobody waits for ever.
    """
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(WORKER, folder, 600, seed, cwd=WORKER.parent, **pipes) as child:
        try:
            out, err = child.communicate(timeout=600)
        finally:
            child.kill()
    # Python tells of an interrupt that hits a finalizer, which cannot raise it, and goes on.
    assert child.returncode == 0, err
    struck = dict(line.split("\t") for line in out.splitlines())
    print("interrupted:", struck)
    assert all(int(struck[kind]) >= 5 for kind in (*KINDS, "query", "get"))
