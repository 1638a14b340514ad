"""What the suites about verify, repair and backup share: an index with pages of every kind, and the
ways to harm it, with the key and without.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from support import KEY, make_index, write_pages

from cyborg_embedded import Client
from cyborg_embedded.model import PageKind
from cyborg_embedded.store import PageStore

NAME = "notes"
DIMENSION = 64
PAGE_SIZE = 1000
COUNT = 1100
DERIVED = {PageKind.NAVIGATION, PageKind.GRAPH, PageKind.PROJECTION, PageKind.COLUMNS}
VECTORS_A_PAGE = 3
"""Rows of 64 float32 that fit into a page of 1,000 bytes."""


@dataclass
class History:
    """What was written: for each row, its id and item; and which rows live."""

    ids: list = field(default_factory=list)
    items: list = field(default_factory=list)
    alive: list = field(default_factory=list)

    def add(self, item_id, item):
        self.kill(item_id)
        self.ids.append(item_id)
        self.items.append(item)
        self.alive.append(True)

    def kill(self, item_id):
        for row in self.rows():
            if self.ids[row] == item_id:
                self.alive[row] = False

    def rows(self):
        return [row for row, alive in enumerate(self.alive) if alive]

    def of(self, rows):
        """The items of some rows, by id."""
        return {self.ids[row]: self.items[row] for row in rows}


def item(number, vector, version=0):
    """An item: every 50th has long metadata, the one after it long contents."""
    metadata = {"n": number, "v": version, "tag": ["a", "b"][number % 2]}
    if number % 50 == 0:
        metadata["long"] = "m" * 700
    contents = [None, f"text {number}", b"\x00 %d" % number][number % 3]
    return vector, metadata, "t" * 900 if number % 50 == 1 else contents


def opened(folder, **options):
    """The index of a folder, open."""
    options.setdefault("indexing", "manual")
    return Client(folder).load_index(NAME, index_key=KEY, **options)


def put(index, items):
    vectors, metadata, contents = zip(*items.values(), strict=True)
    index.upsert(list(items), np.array(vectors), list(metadata), list(contents))


def fill(folder):
    """Make an index with pages of every kind, and say what was written."""
    make_index(folder, NAME, KEY, dimension=DIMENSION, metric="cosine", page_size=PAGE_SIZE)
    vectors = np.random.default_rng(8).normal(size=(COUNT + 40, DIMENSION)) * 0.93 ** np.arange(
        DIMENSION
    )
    vectors = vectors.astype(np.float32)
    history = History()
    first = {f"n{number}": item(number, vectors[number]) for number in range(COUNT)}
    second = {f"n{n}": item(n, vectors[COUNT + n // 30], 1) for n in range(11, COUNT, 30)}
    gone = [f"n{number}" for number in range(10, COUNT, 40)]
    for item_id, each in (*first.items(), *second.items()):
        history.add(item_id, each)
    with opened(folder) as index:
        put(index, first)
        put(index, second)
        index.delete(gone)
        index.optimize()
    for item_id in gone:
        history.kill(item_id)
    return history


def file_of(folder, name=NAME):
    return Path(folder) / f"{name}.cyb"


def place(kind, number):
    """The key of a page."""
    return bytes([kind]) + number.to_bytes(8, "big")


def flip(path, pages, kind, number):
    """Change one bit of a page."""
    sealed = bytearray(pages[place(kind, number)])
    sealed[len(sealed) // 2] ^= 4
    write_pages(path, {place(kind, number): bytes(sealed)})


def drop(path, _, kind, number):
    """Remove a page."""
    write_pages(path, {place(kind, number): None})


def forge(path, work):
    """Commit what `work(view)` does to an index, with its key, by the library's own way to write."""
    store = PageStore.open(str(path), KEY, timeout=5)
    try:
        with store.environment.writer(5):
            with store.read(None) as view:
                snapshot = view.snapshot
            store.write(snapshot, work)
    finally:
        store.close()


def replaced(kind, number, change):
    """A forgery: what `change` makes of the plaintext of a page."""

    def work(view):
        data = bytearray(view.open(kind, number))
        view.seal(kind, number, bytes(change(data) or data))

    return work


def lost_rows(history, damage):
    """The rows of the living that damaged pages take along."""
    per_page = {
        PageKind.VECTORS: VECTORS_A_PAGE,
        PageKind.ITEM_IDS: 512,
        PageKind.ITEMS: 32,
        PageKind.METADATA: 1,
        PageKind.CONTENTS: 1,
    }
    lost = {
        row
        for kind, number in damage
        if kind in per_page
        for row in range(number * per_page[kind], (number + 1) * per_page[kind])
    }
    return sorted(lost & set(history.rows()))


@contextlib.contextmanager
def nothing_changes(path):
    """A with block in which a file stays as it is, byte for byte."""
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before
