"""Calls that may fail anywhere, and what has to be true after they did."""

import os
import shutil
from contextlib import suppress

import lmdb
import numpy as np
import pytest
from injector import Injector
from support import KEY, contents_of

from cyborg_embedded import Client, ClosedError, CyborgError, KeyManagerError, columnset
from cyborg_embedded.kms import Passphrase
from cyborg_embedded.locks import FileLock
from cyborg_embedded.registry import registry

DIMENSION = 4
NAME = "notes"
OTHER = bytes(range(32))
LEFT = {".lock"} | {f"{NAME}.cyb{suffix}" for suffix in ("", "-lock", "-writer")}


def managers():
    """Two key managers that cost next to nothing."""
    return {slot: Passphrase(slot, memory_kib=64, passes=1) for slot in ("owner", "spare")}


def rows(seed, count):
    return np.random.default_rng(seed).normal(size=(count, DIMENSION))


def fill(index):
    """Items with everything, a graph, and some behind it."""
    names = [f"i{n}" for n in range(40)]
    metadata = [{"n": n, "text": "m" * (n * 20)} for n in range(40)]
    contents = [b"c" * (n * 150) for n in range(40)]
    index.upsert(names, rows(1, 40), metadata, contents)
    index.delete(names[::6])
    index.optimize()
    index.upsert(["late"], rows(2, 1), None, ["behind the graph"])


def upsert(client, index):
    names = [f"new {n}" for n in range(20)]
    index.upsert(names, rows(3, 20), [{"n": n} for n in range(20)], [b"x" * 4000] * 20)


def replace(client, index):
    names = [f"i{n}" for n in range(1, 6)]
    index.upsert(names, rows(4, 5), [{"replaced": True}] * 5, ["y" * 900] * 5)


def delete(client, index):
    assert index.delete([f"i{n}" for n in range(1, 30)]) == 25


def optimize(client, index):
    index.optimize()


def compact(client, index):
    index.compact()


def rekey(client, index):
    index.rekey(OTHER)


def rewrap(client, index):
    client.rewrap_index(NAME, index_key=KEY, to_kms="owner")


def backup(client, index):
    index.backup(os.path.join(client._folder.path, "backup"), check=True)


def close(client, index):
    """Of a handle that has something to save."""
    index.close()
    other = client.load_index(NAME, index_key=KEY, indexing="background")
    try:
        other.count({"n": 3})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columnset, "UNSAVED_PAGES", 1)
            other.close()
    finally:
        other.close()


def come_and_go(client, index):
    client.create_index("third", index_key=KEY, dimension=3).close()
    client.delete_index("third", index_key=KEY)


def load(client, index):
    index.close()
    with client.load_index(NAME, index_key=KEY, indexing="manual") as again:
        contents_of(again)
        again.query(rows(5, 1), top_k=3, filters={"n": {"$lt": 9}})


OPERATIONS = (
    *(upsert, replace, delete, optimize, compact, rekey, rewrap, backup, close, load),
    come_and_go,
)


def check_backup(folder, content):
    """A backup that is there is whole."""
    path = os.path.join(folder, "backup")
    if os.path.exists(path):
        os.rename(path, path + ".cyb")
        with Client(folder) as client:
            with client.load_index("backup", index_key=KEY, read_only=True) as copy:
                assert copy.verify().ok
                assert contents_of(copy) == content
            client.delete_index("backup", index_key=KEY)


class Place:
    """A fresh copy of an index for each fault."""

    def __init__(self, folder):
        self.folder = folder
        self.pristine = folder / "pristine.cyb"
        self.number = 0
        with (
            Client(folder / "first") as client,
            client.create_index(
                NAME, index_key=KEY, dimension=DIMENSION, indexing="manual"
            ) as index,
        ):
            fill(index)
            self.before = contents_of(index)
        shutil.copyfile(folder / "first" / f"{NAME}.cyb", self.pristine)

    def client(self):
        """A client of a folder that has the index alone."""
        self.number += 1
        place = self.folder / str(self.number)
        place.mkdir()
        shutil.copyfile(self.pristine, place / f"{NAME}.cyb")
        return Client(place, kms=managers())


def opened(client):
    """The index under whichever key it has."""
    keys = ({"index_key": KEY}, {"index_key": OTHER}, {})
    for access in keys:
        with suppress(CyborgError):
            return client.load_index(NAME, **access, indexing="manual")
    return client.load_index(NAME, **keys[0])


def run(place, operation, injector, monkeypatch, fails_at=None, error=None):
    """Call it with a fault inside. Returns (how many calls of the kind, the content after it)."""
    client = place.client()
    with client.load_index(NAME, index_key=KEY, indexing="manual") as index:
        return run_on(place, client, index, operation, injector, monkeypatch, fails_at, error)


def run_on(place, client, index, operation, injector, monkeypatch, fails_at, error):
    """`run` on a copy of its own."""
    index.query(rows(5, 1), filters={"n": 3})
    raised = None
    with injector.active(monkeypatch, fails_at, error):
        try:
            operation(client, index)
        except BaseException as caught:
            raised = caught
    if raised is not None and raised is not error:
        # An interrupt is never hidden; a lack of memory only where it is a key manager's.
        assert isinstance(raised, CyborgError), raised
        hidden = isinstance(error, (OSError, lmdb.Error)) or isinstance(raised, KeyManagerError)
        assert isinstance(error, Exception), raised
        assert hidden, raised
    content = check_handle(index, operation)
    index.close()
    check_closed(client)
    with opened(client) as again:
        assert again.verify().ok
        if content is None:
            content = contents_of(again)
        without = [item for item in contents_of(again) if item["id"] != "probe"]
        assert without == content
    check_backup(client._folder.path, place.before)
    if "third" in client.list_indexes():
        with client.load_index("third", index_key=KEY) as third:
            assert third.verify().ok
        client.delete_index("third", index_key=KEY)
    client.create_index("another", index_key=KEY).close()
    client.delete_index("another", index_key=KEY)
    left = set(os.listdir(client._folder.path))
    assert left <= LEFT, left
    client.close()
    shutil.rmtree(client._folder.path)
    return injector.count, content, raised


def check_handle(index, operation):
    """What a handle has: None if every call is refused because it is closed."""
    try:
        content = contents_of(index)
    except ClosedError:
        for call in (
            index.list_ids,
            index.describe,
            index.optimize,
            index.verify,
            lambda: index.upsert(["probe"], rows(6, 1)),
            lambda: index.delete(["late"]),
            lambda: index.query(rows(6, 1)),
            lambda: index.count({"n": 1}),
        ):
            try:
                call()
            except ClosedError:
                continue
            raise AssertionError("a handle is closed for some calls") from None
        return None
    assert index.verify().ok
    assert len(index.query(rows(6, 1), top_k=100)[0]) == len(content)
    index.upsert(["probe"], rows(6, 1))
    assert index.delete(["probe"]) == 1
    assert contents_of(index) == content
    return content


def link_of(descriptor):
    """What a descriptor of this process is of."""
    with suppress(FileNotFoundError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return ""


def close_all():
    """Close what should not be open, so that one failure is not that of what comes after it."""
    left = list(registry.files.values())
    for shared in left:
        del registry.files[shared.environment.inode]
        shared.close()
    return left


def check_closed(client):
    """Nothing of this process has the file open, and nobody's lock was left."""
    left = close_all()
    assert not left, "a file is still open"
    if os.path.isdir("/proc/self/fd"):
        folder = client._folder.path + os.sep
        left = [link for link in map(link_of, os.listdir("/proc/self/fd")) if folder in link]
        assert not left, left
    path = client._folder.find(NAME)
    for file, create in ((path, False), (path + "-writer", True)):
        lock = FileLock(file, create=create)
        lock.acquire(exclusive=True, timeout=0)
        lock.release()
    with client._folder.changing(timeout=0):
        pass


def counted(place, operation, point, monkeypatch):
    """How many calls of a kind an operation makes, and the content after it."""
    count, content, raised = run(place, operation, Injector(point), monkeypatch)
    assert raised is None, raised
    return count, content
