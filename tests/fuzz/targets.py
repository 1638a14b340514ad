"""Everything that turns bytes of a file, or of a caller, into something: one function for each.

A target takes any bytes and comes back, or raises an error of those that `ALLOWED` has for it. What
is authenticated before it is decoded is decoded here as it comes.
"""

import contextlib
import os
import struct
import tempfile
from types import SimpleNamespace

import msgspec
import numpy as np

from cyborg_embedded import (
    CyborgError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    columnpages,
    links,
)
from cyborg_embedded.column import FIRST_CODE
from cyborg_embedded.columnset import decoded
from cyborg_embedded.envelopes import decode_envelopes
from cyborg_embedded.filters import parse
from cyborg_embedded.frontier import Frontier
from cyborg_embedded.graph import Graph
from cyborg_embedded.header import decode_header
from cyborg_embedded.ids import GONE, IdCache
from cyborg_embedded.itemids import ItemIdPage
from cyborg_embedded.items import ItemPage
from cyborg_embedded.kms.registry import read_registry
from cyborg_embedded.model import PageKind
from cyborg_embedded.names import check_name, file_name, fold, name_of_file
from cyborg_embedded.navigation import load_projection
from cyborg_embedded.payloads import decode_metadata
from cyborg_embedded.root import GraphRecord, IdRecord, Root, Snapshot, TableRecord, decode_root
from cyborg_embedded.store import PageStore
from cyborg_embedded.tombstones import load_alive

PAGE_SIZE = 512
ROOM = PAGE_SIZE - 40
MOST_NODES = 1000


class View:
    """A view whose pages are cut from the bytes of a target, one after another."""

    def __init__(self, data, **fields):
        self.data = data
        self.at = 0
        self.page_size = PAGE_SIZE
        self.snapshot = SimpleNamespace(**fields)

    def take(self, size):
        part = self.data[self.at : self.at + size]
        self.at += size
        return part

    def open(self, kind, number):
        return self.take(ROOM)

    def open_bound(self, kind, number, tag):
        return self.take(ROOM // 16 * 16 if kind is PageKind.TABLE else ROOM)

    def open_into(self, kind, number, out):
        self.open_each_into(kind, [number], [out])

    def open_each_into(self, kind, numbers, outs):
        for number, out in zip(numbers, outs, strict=True):
            target = memoryview(out).cast("B")
            part = self.take(len(target))
            if len(part) != len(target):
                message = "not the page that was written here"
                raise IntegrityError(message, kind=kind.name, number=number)
            target[:] = part


def header(data):
    repr(decode_header(data))


def envelopes(data):
    repr(decode_envelopes(data))


def root(data):
    found = decode_root(data, PAGE_SIZE)
    for kind in PageKind:
        table = found.table(kind)
        assert len(table.chunks) % 16 == 0
        assert table.pages >= 0


def page_table(data):
    """The first two bytes say how many pages a kind is to have."""
    pages = int.from_bytes(data[:2], "little") % 2048
    chunks = -(-pages // (ROOM // 16))
    table = TableRecord(pages, bytes(range(16)) * chunks)
    record = Root(1, "cosine", 4, tables={PageKind.ITEMS: table})
    view = View(data[2:], root=record)
    store = SimpleNamespace(header=SimpleNamespace(page_size=PAGE_SIZE))
    tags = PageStore._load_table(store, view, PageKind.ITEMS, None)
    snapshot = Snapshot(1, record, b"", {PageKind.ITEMS: tags}, None)
    assert len(snapshot.changed(None, PageKind.ITEMS)) == pages
    for number in (0, pages - 1, pages, pages + 1):
        try:
            snapshot.tag(PageKind.ITEMS, max(number, 0))
        except IntegrityError:
            assert number >= pages or not pages


def item_ids(data):
    page = ItemIdPage(data, 3)
    assert len(page.ids()) == page.count
    for slot in range(page.count + 1):
        with contextlib.suppress(IntegrityError):
            page.text(slot)


def items(data):
    """A page of 512 bytes at most, and behind it what its rows have apart."""
    view = View(data[ROOM:])
    page = ItemPage(data[:ROOM], 2)
    with contextlib.suppress(IntegrityError):
        page.whole()
    for slot in range(page.count + 1):
        view.at = 0
        with contextlib.suppress(IntegrityError):
            page.record(slot)
            page.has_apart(slot, PageKind.METADATA)
            payload = page.payload(view, slot)
            decode_metadata(payload.metadata, slot)


def ids(data):
    """How many entries, how many of them sorted, how many rows; and the entries."""
    entries, in_order, rows = struct.unpack("<3H", data[:6].ljust(6, b"\0"))
    pages = -(-len(data[6:]) // (ROOM // 20 * 20))
    record = Root(1, "cosine", 4, rows=rows, ids=IdRecord(entries, min(in_order, entries)))
    tags = {PageKind.IDS: bytes(16 * pages)}
    table = IdCache().table(View(data[6:], tags=tags, root=record))
    assert table.count() <= entries
    for part in (table.sorted, table.unsorted):
        assert ((part.row < rows) | (part.row == GONE)).all()


def graph_links(data):
    """What passes is searched as well: hnswlib believes whatever it is given."""
    found = links.decode(data, MOST_NODES)
    assert len(np.unique(found.rows)) == len(found.rows)
    if found.ef_construction < found.m:
        return  # see `test_findings.py`
    search(found)


def search(found):
    """Have a graph walked as it lies, and by hnswlib."""
    codes = np.random.default_rng(1).integers(-127, 128, (len(found.rows), 4), np.int8)
    scale = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    points = codes * scale
    frontier = Frontier(found, codes, (points**2).sum(axis=1), scale)
    for beam in (1, 10, 100):
        for point in points[:3]:
            walked = frontier.search(point, min(beam, len(points)))
            if walked is not None:
                nodes, distances = walked
                assert len(np.unique(nodes)) == len(nodes) == min(beam, len(points))
                assert (np.diff(distances) >= 0).all()
    graph = Graph.resting(frontier, MOST_NODES, "l2")
    graph.wake()
    for beam in (1, 10, 100):
        graph.search(points[:3], beam)


def projection(data):
    """How many dimensions, before and behind it, and how many are walked; and the numbers."""
    dimension, dimensions, walked = struct.unpack("<3B", data[:3].ljust(3, b"\0"))
    pages = -(-len(data[3:]) // ROOM)
    record = Root(1, "cosine", dimension)
    view = View(data[3:], root=record, pages=lambda _: pages)
    load_projection(view, GraphRecord(0, 0, dimensions, walked))


def columns(data):
    found = columnpages.decode(np.frombuffer(data, np.uint8))
    for column in found.by_path.values():
        known = FIRST_CODE + len(column.numbers) + len(column.texts)
        assert column.codes.max(initial=0) < known
        for rows in (column.rows, column.list_rows):
            assert rows is None or rows.max(initial=0) <= max(found.rows - 1, 0)


def tombstones(data):
    """The first byte says how many rows there are, in tens of hundreds."""
    rows = int.from_bytes(data[:1], "little") * 1000
    changed = range(-(-len(data[1:]) // ROOM))
    alive = load_alive(View(data[1:]), rows, np.empty(0, np.bool_), changed, PAGE_SIZE)
    assert len(alive) == rows


def metadata(data):
    decode_metadata(data, 7)
    decoded([data], [7])


def names(data):
    file = os.fsdecode(data)
    name = name_of_file(file)
    if name is not None:
        assert check_name(name) == name
        assert fold(name_of_file(file_name(name))) == fold(name)
    text = data.decode(errors="replace")
    assert name_of_file(file_name(check_name(text))) is not None


def registry_file(data):
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        read_registry(file.name)


def filters(data):
    """What a caller may pass, as JSON, since that has all of its types but dates."""
    try:
        asked = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return
    parse(asked, ("hidden", "a.b"))


ALLOWED = {
    header: FormatError,
    envelopes: FormatError,
    root: IntegrityError,
    page_table: IntegrityError,
    item_ids: IntegrityError,
    items: IntegrityError,
    ids: IntegrityError,
    graph_links: IntegrityError,
    projection: IntegrityError,
    columns: IntegrityError,
    tombstones: IntegrityError,
    metadata: IntegrityError,
    names: InvalidInputError,
    registry_file: InvalidInputError,
    filters: InvalidInputError,
}
TARGETS = {target.__name__: target for target in ALLOWED}


def run(name, data):
    """Run a target: whether it took the bytes. Raises what it must not raise."""
    target = TARGETS[name]
    assert issubclass(ALLOWED[target], CyborgError)
    try:
        target(data)
    except ALLOWED[target]:
        return False
    return True
