"""Where there is no room, a call says so and changes nothing; reads go on, and writes do once there
is room again.
"""

import contextlib
import os
import subprocess
import sys

import pytest
from support import TESTS, python

WORKER = TESTS / "faults" / "full_worker.py"
DISK_BYTES = 3 << 20
CALLS = ("upsert", "delete", "optimize", "compact", "rekey", "backup")
NEEDED = 4
"""Blocks that each of these calls needs at the least."""


@contextlib.contextmanager
def small_disk(path):
    """A disk with little room. Skips where none can be had."""
    path.mkdir()
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("a disk can be mounted by root alone")
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"]
    if subprocess.run(["mount", *options, path], capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def run(place, name, way, step):
    """How many blocks of room a call needed in the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(WORKER, place, name, way, step, **pipes) as child:
        out, err = child.communicate(timeout=300)
    assert child.returncode == 0, f"{name}: ended by {child.returncode}\n{err}"
    return int(out)


@pytest.mark.parametrize("name", CALLS)
def test_full_disk(tmp_path, name):
    """A call that a disk has no room for is a StorageFullError, and happens once there is room."""
    with small_disk(tmp_path / "disk") as disk:
        assert run(disk, name, "disk", 9) >= NEEDED


@pytest.mark.parametrize("name", ["compact", "create", "load"])
def test_no_room_for_locks(tmp_path, name):
    """A disk without room for a lock file is a StorageFullError, and not the end of the process."""
    with small_disk(tmp_path / "disk") as disk:
        run(disk, name, "none", 0)


@pytest.mark.parametrize("name", ["upsert", "delete", "optimize"])
def test_limited_size(tmp_path, name):
    """So is one for which a file would grow beyond the limit on its size."""
    assert run(tmp_path, name, "size", 9) >= 1


@pytest.mark.parametrize("name", ["compact", "rekey", "backup"])
def test_limited_size_of_a_new_file(tmp_path, name):
    """So is one that would make a file beyond that limit."""
    assert run(tmp_path, name, "new size", 7) >= NEEDED


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_full_at_each_block(tmp_path, name):
    """So it is for each block that a call may be short of."""
    with small_disk(tmp_path / "disk") as disk:
        assert run(disk, name, "disk", 1) >= NEEDED
    (tmp_path / "limit").mkdir()
    assert run(tmp_path / "limit", name, "size" if name in CALLS[:3] else "new size", 1) >= 1
