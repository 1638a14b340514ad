"""Calls on an index where there is less and less room, and what is there after each of them.

Room is made short by a file beside it on a small disk, or by the limit on the size of files.
"""

import contextlib
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
from support import KEY, contents_of

from cyborg_embedded import Client, StorageFullError

BLOCK = 4096
NAME = "notes"
LEFT = {".lock", *(f"{NAME}.cyb{suffix}" for suffix in ("", "-lock", "-writer"))}
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def rows(seed, count):
    return np.random.default_rng(seed).normal(size=(count, 8))


def make(folder):
    """An index without a free page worth mentioning."""
    with Client(folder).create_index(NAME, index_key=KEY, dimension=8, indexing="manual") as index:
        index.upsert([f"i{n}" for n in range(40)], rows(1, 40), None, [b"x" * 900] * 40)


def upsert(index):
    index.upsert([f"new {n}" for n in range(30)], rows(2, 30), None, [b"y" * 5000] * 30)


CALLS = {
    "upsert": upsert,
    "delete": lambda index: index.delete([f"i{n}" for n in range(20)]),
    "optimize": lambda index: index.optimize(),
    "compact": lambda index: index.compact(),
    "rekey": lambda index: index.rekey(bytes(32)),
    "backup": lambda index: index.backup(f"{index._home.folder.path}/backup"),
}


@contextlib.contextmanager
def little_room(folder, blocks, way):
    """Leave so many blocks of room, until the with block ends."""
    path = folder / f"{NAME}.cyb"
    if way == "disk":
        filler = folder.parent / "filler"
        disk = os.statvfs(folder)
        with open(filler, "wb") as file:
            os.posix_fallocate(
                file.fileno(), 0, max(disk.f_bfree * disk.f_bsize - blocks * BLOCK, 1)
            )
        try:
            yield
        finally:
            filler.unlink()
    else:
        # A file that is new has to reach this too: blocks are counted from nothing then.
        start = path.stat().st_size if way == "size" else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (start + blocks * BLOCK - 100, NO_LIMIT[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, NO_LIMIT)


def attempt(pristine, folder, name, blocks, way):
    """A call with so little room: whether there was enough."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(pristine, folder / f"{NAME}.cyb")
    with Client(folder) as client:
        with client.load_index(NAME, index_key=KEY, indexing="manual") as index:
            # What locks are kept in is there already, as it is where an index is in use.
            index.upsert(["first"], rows(3, 1))
            before = contents_of(index)
            full = False
            with little_room(folder, blocks, way):
                try:
                    CALLS[name](index)
                except StorageFullError:
                    full = True
                    assert contents_of(index) == before
                    assert len(index.query(rows(4, 1), top_k=100)[0]) == 41
            assert index.verify().ok
            left = set(os.listdir(folder)) - {"backup"}
            assert left <= LEFT, left
            assert not full or not (folder / "backup").exists()
            if full:
                assert contents_of(index) == before
                CALLS[name](index)
            index.upsert(["last"], rows(5, 1))
        return not full


def attempts(place, name, way, step):
    """A call with more and more room, until there is enough."""
    pristine = place / "pristine"
    if not pristine.exists():
        make(pristine)
    # A block is what LMDB wants for its lock file: `no_room` leaves it none.
    blocks = 1 + 2 * (way == "disk")
    while not attempt(pristine / f"{NAME}.cyb", place / "index", name, blocks, way):
        blocks += step
    return blocks


def no_room(place, name):
    """A call on a disk that is full to the last block, where LMDB's lock file is not there yet."""
    folder = place / "pristine"
    make(folder)
    with Client(folder) as client:
        index = client.load_index(NAME, index_key=KEY, indexing="manual")
        index.upsert(["first"], rows(3, 1))
        if name == "load":
            index.close()
            os.unlink(folder / f"{NAME}.cyb-lock")
        with little_room(folder, 0, "disk"), contextlib.suppress(StorageFullError):
            if name == "compact":
                index.compact()
            elif name == "create":
                client.create_index("other", index_key=KEY, dimension=2)
            elif name == "load":
                index = client.load_index(NAME, index_key=KEY, indexing="manual")
                index.list_ids()
        index.close()
    return 0


if __name__ == "__main__":
    place, name, way, step = sys.argv[1:]
    if way == "none":
        print(json.dumps(no_room(Path(place), name)))
    else:
        print(json.dumps(attempts(Path(place), name, way, int(step))))
