"""What the images rest on: the order in which LMDB and this library write, sync and rename."""

import re
import shutil
import subprocess
import sys

import pytest
from support import TESTS, run_python

WRITES = ("pwrite64", "pwritev", "writev", "write")
SYNCS = ("fdatasync", "fsync")
NAMES = ("rename", "renameat", "renameat2", "link", "linkat")
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
META_BYTES, SECTOR, BLOCK = 120, 512, 4096


def traced(folder):
    """[(call, its arguments as text, what it returned)] of what concerns a folder."""
    log = folder.parent / "trace"
    calls = ",".join((*WRITES, *SYNCS, *NAMES, "ftruncate", "openat"))
    prefix = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={calls}", "-o", str(log)]
    program = TESTS / "power" / "order_worker.py"
    source = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    code, _, err = run_python(source, *prefix, sys.executable, "-B", program, folder)
    assert code == 0, err
    found = []
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = CALL.match(line)
            if match and str(folder) in line and int(match[3]) >= 0:
                found.append((match[1], match[2], int(match[3])))
    return found


def can_trace():
    """Whether there is strace, and it is let."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    if not can_trace():
        pytest.skip("nothing can be traced here")
    return traced(tmp_path_factory.mktemp("order") / "indexes")


def path_of(arguments):
    """The path of the descriptor that a call is about."""
    return re.match(r"\d+<(.*?)>", arguments)[1]


def test_meta_pages_are_written_last(trace):
    """A meta page is written inside one sector, through O_DSYNC, with all else synced before."""
    durable, unsynced, commits = {}, {}, 0
    for call, arguments, returned in trace:
        if call == "openat":
            durable[returned] = "O_DSYNC" in arguments
        elif call in SYNCS:
            unsynced.pop(path_of(arguments), None)
        elif call in WRITES and path_of(arguments).endswith(".cyb"):
            path = path_of(arguments)
            offset = int(arguments.rsplit(", ", 1)[1]) if call.startswith("pwrite") else None
            if returned != META_BYTES:
                unsynced[path] = True
                # None but the two pages that a new file begins with is ever written over.
                assert offset != 0 or returned == 2 * BLOCK
                continue
            assert durable[int(arguments.partition("<")[0])]
            assert path not in unsynced
            assert offset // BLOCK in (0, 1)
            assert offset // SECTOR == (offset + META_BYTES - 1) // SECTOR
            commits += 1
    assert commits >= 10
    assert not unsynced


def test_names_are_given_last(trace):
    """A file gets its name when all of it is synced; then its folder is."""
    unsynced, named, waiting = set(), 0, False
    for call, arguments, _ in trace:
        if call in WRITES:
            unsynced.add(path_of(arguments))
        elif call in SYNCS:
            unsynced.discard(path_of(arguments))
            waiting = waiting and not path_of(arguments).endswith("indexes")
        elif call in NAMES:
            source = re.search(r'"(.*?)"', arguments)[1]
            # The last write is that of a meta page, which is a sync of its own.
            assert source.endswith(".cyb") or source not in unsynced
            assert not waiting
            named, waiting = named + 1, True
    assert named == 4
    assert not waiting
