"""Every rule of "A reader MUST reject" that only a holder of the key can break.

Pages are forged with the key: altered, sealed again, and named by their parents up to the root. The
independent reader rejects each by the rule that it breaks; the library does not answer from it.
"""

import math
import os
import shutil
import struct

import msgspec
import numpy as np
import pytest
import reader
from reader import RejectedError, decode, read_records
from support import KEY, make_index, write_pages

from cyborg_embedded import Client, IntegrityError

DERIVED = {24, 25}
AT_OPEN = {10, 11, 12}
"""The rules of a root by itself, without which an index is not opened."""
NAMES = [f"n{number}" for number in range(1100)]
ROOM = 960


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The path of an index with pages of every kind, and its records."""
    folder = tmp_path_factory.mktemp("rejects")
    make_index(folder, "notes", KEY, dimension=64, metric="cosine", page_size=1000)
    vectors = np.random.default_rng(8).normal(size=(1100, 64)) * 0.93 ** np.arange(64)
    metadata = [{"n": number, "m": "m" * (600 * (number == 1))} for number in range(1100)]
    for number in range(40, 1100, 30):
        metadata[number]["tags"] = [{"a": "x"}, number / 4, "y"]
    contents = ["text"] + ["t" * 600] * 2 + [None] * 1097
    with Client(folder) as client, client.load_index("notes", index_key=KEY) as index:
        index.upsert(NAMES, vectors, metadata, contents)
        index.delete(["n5", "n1099"])
        index.optimize()
    path = folder / "notes.cyb"
    return path, read_records(path)


class Forger:
    """Seals what it is given in place of an index's pages, and the tree of tags over them."""

    def __init__(self, records):
        self.header = reader.read_header(records)
        self.key = reader.derive_keys(KEY, self.header["salt"])["pages"]
        self.pages = reader.Pages(records, self.header, self.key)
        self.records = dict(records)
        self.tags = {kind: list(tags) for kind, tags in self.pages._tags.items()}
        self.root = self.pages.root

    def seal(self, kind, number, plaintext, more=b""):
        place = bytes([kind]) + number.to_bytes(8, "big")
        nonce = os.urandom(24)
        aead = reader.AESGCM(reader.derive_message_key(self.key, nonce[:12]))
        aad = self.header["index_id"] + place + more
        self.records[place] = nonce + aead.encrypt(nonce[12:], plaintext, aad)
        return self.records[place][-16:]

    def replace(self, kind, number, change):
        """Seal what `change` makes of a page's plaintext."""
        number %= len(self.tags[kind])
        old = bytearray(self.pages.open(kind, number))
        self.tags[kind][number] = self.seal(kind, number, bytes(change(old) or old))

    def replace_columns(self, change):
        """Seal what `change` makes of the string of the columns, on as many pages as it takes."""
        data = change(self.pages.blob(COLUMNS, self.root["columns"]["bytes"]))
        parts = [data[at : at + ROOM] for at in range(0, len(data), ROOM)]
        sealed = [self.seal(COLUMNS, number, part) for number, part in enumerate(parts)]
        self.tags[COLUMNS], self.root["columns"] = sealed, {"bytes": len(data)}

    def finish(self, change_root=None):
        """The forged records. `change_root` changes the root in place, or gives its plaintext."""
        for kind, tags in self.tags.items():
            span = ROOM // 16
            parts = [b"".join(tags[at : at + span]) for at in range(0, len(tags), span)]
            sealed = [self.seal(2, (kind << 48) + n, part) for n, part in enumerate(parts)]
            self.root["tables"][kind] = {"pages": len(tags), "chunks": b"".join(sealed)}
        encode = msgspec.msgpack.encode
        plaintext = change_root(self.root) if change_root else None
        self.seal(1, 0, plaintext or encode(self.root), self.header["digest"])
        return self.records


def put(layout, at, *values):
    """A change that packs values at an offset."""
    return lambda data: struct.pack_into(layout, data, at, *values)


def cut(data):
    return data[:-1]


def record_of(slot, layout, shift, *values):
    """A change to the record of one row of an ITEMS page."""

    def change(data):
        (start,) = struct.unpack_from("<I", data, 4 + 4 * slot)
        struct.pack_into(layout, data, start + shift, *values)

    return change


def update(*names, **values):
    """A change to the root, or to a map in it."""

    def change(root):
        for name in names:
            root = root[name]
        root.update(values)

    return change


def links(node, *values):
    """A change to the start of the list of a node at level 0, on the page that has it."""
    at = 24 + 4 * 1098 + 1098 + 2 + 4 * node * 33
    return (reader.GRAPH, at // ROOM, put(f"<{len(values)}I", at % ROOM, *values))


def repeat_first_row(data):
    """The row of the first node for another one too, on the first page of the graph."""
    data[24 + 4 * 200 : 28 + 4 * 200] = data[24:28]


def renumbered(data):
    """The same graph, its first and its second node numbered the other way round."""
    version, n, m, ef, highest, entry = struct.unpack_from("<6I", data)
    order = np.arange(n, dtype="<u4")
    order[:2] = 1, 0
    levels_at, level0_at = 24 + 4 * n, 24 + 5 * n + -n % 4
    upper_at = level0_at + 4 * n * (1 + 2 * m)
    rows = np.frombuffer(data, "<u4", n, 24)
    levels = np.frombuffer(data, np.uint8, n, levels_at)
    level0 = np.frombuffer(data, "<u4", n * (1 + 2 * m), level0_at).reshape(n, -1)
    upper = np.frombuffer(data, "<u4", offset=upper_at).reshape(-1, 1 + m)
    lists = np.split(upper, np.cumsum(levels)[:-1])

    def other(lists):
        used = np.arange(lists.shape[1] - 1) < lists[:, :1]
        return np.concatenate(
            (lists[:, :1], np.where(used, order[lists[:, 1:]], 0)), axis=1, dtype="<u4"
        )

    parts = [
        struct.pack("<6I", version, n, m, ef, highest, order[entry]),
        rows[order].tobytes(),
        levels[order].tobytes(),
        bytes(-n % 4),
        other(level0[order]).tobytes(),
        *(other(lists[node]).tobytes() for node in order),
    ]
    return b"".join(parts)


def walk_one_more(graph):
    graph["walked"] = graph["dimensions"] + 1


def bad_root(**values):
    return lambda root: msgspec.msgpack.encode({**root, **values})


NUMBERS, TEXTS, CODES, ROWS, INSIDE, ARRAY_ROWS, LENGTHS = range(7)


class Unpacked:
    """The string of the columns in parts, as docs/FORMAT.md has them: of each column a list."""

    def __init__(self, data):
        (size,) = struct.unpack_from("<I", data)
        self.directory = msgspec.msgpack.decode(data[4 : 4 + size])
        at = 4 + size + 16 * -(-self.directory["rows"] // 32)
        self.tags = data[4 + size : at]
        self.columns = {}
        for entry in self.directory["columns"]:
            wide = 2 if entry["path"] == "n" else 1
            n, arrays = entry["codes"], 4 * entry["arrays"]
            sizes = [entry["numbers"], entry["texts"], wide * n, 4 * n * entry["sparse"]]
            sizes += [-(-n // 8) * entry["nested"], arrays, arrays]
            parts = []
            for part in sizes:
                parts.append(data[at : at + part])
                at += part
            self.columns[entry["path"]] = parts
        assert not any(data[at:])

    def entry(self, path):
        """What the directory says of a column."""
        return next(entry for entry in self.directory["columns"] if entry["path"] == path)

    def packed(self, directory=None):
        """The string again."""
        head = directory or msgspec.msgpack.encode(self.directory)
        parts = [part for column in self.columns.values() for part in column]
        return b"".join([struct.pack("<I", len(head)), head, self.tags, *parts])


def columns(change):
    """A change to the parts of the columns, as a change to their string."""

    def changed(data):
        unpacked = Unpacked(data)
        again = change(unpacked)
        return again if isinstance(again, bytes) else unpacked.packed()

    return changed


def directory(**values):
    """Columns with other values in the directory."""
    return columns(lambda unpacked: unpacked.directory.update(values))


def entry(path, /, **values):
    """Columns with other values in one entry of the directory."""
    return columns(lambda unpacked: unpacked.entry(path).update(values))


def part(path, place, change):
    """Columns in which one part of one is another, with the length that the directory gives."""

    def changed(unpacked):
        parts = unpacked.columns[path]
        old = parts[place]
        parts[place] = bytes(change(bytearray(old)))
        lengths = {NUMBERS: "numbers", TEXTS: "texts"}
        if place in lengths:
            unpacked.entry(path)[lengths[place]] = len(parts[place])

    return columns(changed)


def written(layout, at, *values):
    """What there was, with values packed at an offset, which may count from the end."""

    def change(data):
        struct.pack_into(layout, data, at % len(data), *values)
        return data

    return change


def with_head(change):
    """Columns with the bytes of the directory changed."""
    return columns(lambda it: it.packed(change(msgspec.msgpack.encode(it.directory))))


def texts(*values):
    return lambda _: msgspec.msgpack.encode(values)


def without_complete(unpacked):
    del unpacked.directory["complete"]


def twice(unpacked):
    unpacked.entry("m")["path"] = "n"


def of_another_row_too_many(unpacked):
    """Columns that say they are of one row more, and have something there."""
    unpacked.directory["rows"] += 1
    rows = bytearray(unpacked.columns["tags.a"][ROWS])
    unpacked.columns["tags.a"][ROWS] = bytes(written("<I", -4, 1100)(rows))


VECTORS, ITEMS, IDS, TOMBSTONES = reader.VECTORS, reader.ITEMS, reader.IDS, reader.TOMBSTONES
GRAPH, PROJECTION, ITEM_IDS = reader.GRAPH, reader.PROJECTION, reader.ITEM_IDS
COLUMNS = reader.COLUMNS
PAGES = {
    "short vectors": (9, (VECTORS, 0, cut)),
    "short ids": (9, (IDS, 1, cut)),
    "long ids": (9, (IDS, 1, lambda data: data + data[:20])),
    "one more dead row": (15, (TOMBSTONES, 0, put("<B", 0, 0x21 | 1))),
    "no ids of rows": (16, (ITEM_IDS, 0, put("<I", 0, 0))),
    "513 ids of rows": (16, (ITEM_IDS, 0, put("<I", 0, 513))),
    "too few ids of rows": (16, (ITEM_IDS, 0, put("<I", 0, 3))),
    "no items": (16, (ITEMS, 0, put("<I", 0, 0))),
    "33 items": (16, (ITEMS, 0, put("<I", 0, 33))),
    "too few items": (16, (ITEMS, 0, put("<I", 0, 3))),
    "an empty id": (17, (ITEM_IDS, 0, put("<H", 4, 0))),
    "a long id": (17, (ITEM_IDS, 0, put("<H", 4, 1025))),
    "ids beyond the page": (17, (ITEM_IDS, 0, put("<5H", 4, *[1024] * 5))),
    "offsets that descend": (18, (ITEMS, 0, put("<I", 8, 0))),
    "an offset before the records": (18, (ITEMS, 0, put("<I", 4, 4))),
    "an offset beyond the page": (18, (ITEMS, 0, put("<I", 4 + 4 * 32, 1 << 20))),
    "long metadata in a short record": (19, (ITEMS, 0, record_of(2, "<I", 1, 500))),
    "metadata above the limit": (19, (ITEMS, 0, record_of(1, "<I", 1, (1 << 20) + 1))),
    "contents above the limit": (19, (ITEMS, 0, record_of(2, "<I", 5, (64 << 20) + 1))),
    "an empty record": (19, (ITEMS, 0, lambda data: put("<I", 8, *data[4:5])(data))),
    "an unknown flag": (19, (ITEMS, 0, record_of(2, "<B", 0, 16 | 9))),
    "contents that are text and bytes": (19, (ITEMS, 0, record_of(0, "<B", 0, 3))),
    "contents that are neither": (19, (ITEMS, 0, record_of(0, "<B", 0, 0))),
    "long contents that are neither": (19, (ITEMS, 0, record_of(2, "<B", 0, 8))),
    "metadata longer than its page": (20, (ITEMS, 0, record_of(1, "<I", 1, 5000))),
    "contents longer than their page": (20, (ITEMS, 0, record_of(2, "<I", 5, 5000))),
    "an id that is no text": (21, (ITEM_IDS, 0, put("<B", 4 + 2 * 512, 0xFF))),
    "a text that is none": (21, (ITEMS, 0, record_of(0, "<B", 9 + 15, 0xFF))),
    "metadata that is no JSON": (21, (ITEMS, 0, record_of(0, "<B", 9, ord("x")))),
    "short tombstones": (9, (TOMBSTONES, 0, lambda data: data[:100])),
    "long tombstones": (9, (TOMBSTONES, 0, lambda data: data + data)),
    "an id of a row too far": (22, (IDS, 0, put("<I", 16, 1100))),
    "an id of a dead row": (23, (IDS, 0, put("<I", 16, 5))),
    "an id of another's row": (23, (IDS, 0, put("<I", 16, 77))),
    "an infinite projection": (24, (PROJECTION, 0, put("<f", 0, float("inf")))),
    "a short stretch": (24, (PROJECTION, -1, put("<f", -4, 0.5))),
    "a long stretch": (24, (PROJECTION, -1, put("<f", -4, 2.5))),
    "another graph version": (25, (GRAPH, 0, put("<I", 0, 2))),
    "no nodes": (25, (GRAPH, 0, put("<I", 4, 0))),
    "too many nodes": (25, (GRAPH, 0, put("<I", 4, 1101))),
    "one node less": (25, (GRAPH, 0, put("<I", 4, 1097))),
    "M of 1": (25, (GRAPH, 0, put("<I", 8, 1))),
    "no ef_construction": (25, (GRAPH, 0, put("<I", 12, 0))),
    "another highest level": (25, (GRAPH, 0, put("<I", 16, 9))),
    "an entry beyond the nodes": (25, (GRAPH, 0, put("<I", 20, 1098))),
    "a row of two nodes": (25, (GRAPH, 0, put("<2I", 24, 7, 7))),
    "a row of two nodes that are apart": (25, (GRAPH, 0, repeat_first_row)),
    "a row too far": (25, (GRAPH, 0, put("<I", 24, 1100))),
    "a row that wraps around": (25, (GRAPH, 0, put("<I", 24, 0xFFFFFFFF))),
    "too many links": (25, links(0, 33)),
    "a link to nowhere": (25, links(0, 1, 1098)),
}
ROOTS = {
    "another precision": (10, bad_root(precision="float64")),
    "a precision that is a number": (10, bad_root(precision=32)),
    "too many dimensions to walk": (10, bad_root(navigator_dimensions=16_385)),
    "no map": (10, lambda _: b"\x90"),
    "bytes behind it": (10, lambda root: msgspec.msgpack.encode(root) + b"\xc0"),
    "cut": (10, lambda root: msgspec.msgpack.encode(root)[:-1]),
    "unknown field": (10, bad_root(more=1)),
    "unknown metric": (10, bad_root(metric="manhattan")),
    "sequence is text": (10, bad_root(sequence="1")),
    "negative rows": (10, bad_root(rows=-1)),
    "too many rows": (10, bad_root(rows=(1 << 31) + 1)),
    "too many dimensions": (10, bad_root(dimension=16_385)),
    "a table of a kind that has none": (11, bad_root(tables={5: {"pages": 0, "chunks": b""}})),
    "a chunk too many": (11, bad_root(tables={3: {"pages": 1, "chunks": bytes(32)}})),
    "half a chunk's tag": (11, bad_root(tables={3: {"pages": 1, "chunks": bytes(8)}})),
    "more sorted than entries": (12, update("ids", sorted=1200)),
    "more live than rows": (12, update(live=1101)),
    "rows without a dimension": (12, update(dimension=0)),
    "ids that are not sorted": (22, update("ids", sorted=1102)),
    "an entry less": (9, update("ids", entries=1101)),
    "too many entries": (22, update("ids", entries=1200)),
    "more rows than pages": (14, update(rows=1200)),
    "one live row more": (15, update(live=1099)),
    "a graph of more rows": (12, update("graph", rows=1101)),
    "a graph too long": (24, update("graph", bytes=1)),
    "m above room": (24, update("graph", dimensions=961)),
    "components without any that are walked": (24, update("graph", walked=0)),
    "more walked than there are": (24, lambda root: walk_one_more(root["graph"])),
    "too many walked": (10, update("graph", walked=16_385)),
    "walked is text": (10, update("graph", walked="16")),
    "efforts are a number": (10, update("graph", efforts=16)),
    "a width of 0": (10, update("graph", efforts=[[0, 9000]])),
    "a width above the limit": (10, update("graph", efforts=[[(1 << 20) + 1, 9000]])),
    "more than all is found": (10, update("graph", efforts=[[16, 10_001]])),
    "three numbers for an effort": (10, update("graph", efforts=[[16, 9000, 1]])),
    "too many efforts": (10, update("graph", efforts=[[n, 9000] for n in range(1, 66)])),
    "widths out of order": (12, update("graph", efforts=[[24, 9000], [16, 9500]])),
    "recall that falls": (12, update("graph", efforts=[[16, 9000], [24, 8000]])),
    "far is a number": (10, update("graph", far=1.5)),
    "far are texts": (10, update("graph", far=["1", "2"])),
    "a negative distance": (10, update("graph", far=[1.5, -0.5])),
    "no distance": (10, update("graph", far=[1.5, math.nan])),
    "too many distances": (10, update("graph", far=[1.5, 1.5, 1.5])),
    "a distance short": (12, update("graph", far=[1.5])),
    "columns are a number": (10, bad_root(columns=1)),
    "columns without their length": (10, bad_root(columns={})),
    "columns with more to them": (10, bad_root(columns={"bytes": 1, "rows": 1})),
    "columns of true bytes": (10, bad_root(columns={"bytes": True})),
    "columns of negative bytes": (10, bad_root(columns={"bytes": -1})),
    "columns of too many bytes": (10, bad_root(columns={"bytes": (1 << 48) + 1})),
    "hidden is text": (10, bad_root(hidden="secret")),
    "hidden is nil": (10, bad_root(hidden=None)),
    "a hidden number": (10, bad_root(hidden=[1])),
    "a hidden field without a name": (10, bad_root(hidden=[""])),
    "a long name of a hidden field": (10, bad_root(hidden=["ß" * 1025])),
    "too many hidden fields": (10, bad_root(hidden=[f"{n:03}" for n in range(257)])),
    "hidden fields out of order": (12, bad_root(hidden=["b", "a"])),
    "a field hidden twice": (12, bad_root(hidden=["a", "a"])),
    "a table of kind 14": (11, bad_root(tables={14: {"pages": 0, "chunks": b""}})),
}
COLUMN_CASES = {
    "a cut page of columns": (9, (COLUMNS, 0, cut)),
    "columns too long": (24, update("columns", bytes=ROOM * 9)),
    "columns too short": (24, update("columns", bytes=0)),
    "columns without pages": (24, lambda root: root["tables"].pop(COLUMNS) and None),
    "columns that are empty": (26, lambda _: b""),
    "columns of three bytes": (26, lambda data: data[:3]),
    "columns cut": (26, lambda data: data.rstrip(b"\0")[:-40]),
    "bytes behind the columns": (26, lambda data: data + b"\1"),
    "a directory beyond the end": (26, lambda data: b"\xff\xff\xff\xff" + data[4:]),
    "a directory that is no map": (26, with_head(lambda _: b"\x90")),
    "a directory that is no MessagePack": (26, with_head(lambda _: b"\xc1")),
    "bytes behind the directory": (26, with_head(lambda head: head + b"\xc0")),
    "a directory cut": (26, with_head(cut)),
    "another field in the directory": (26, directory(more=1)),
    "a field less in the directory": (26, columns(without_complete)),
    "complete is a number": (26, directory(complete=1)),
    "columns that are no array": (26, directory(columns=3)),
    "columns of too many rows": (26, directory(rows=(1 << 31) + 1)),
    "columns of more rows than there are": (26, columns(of_another_row_too_many)),
    "columns of more pages than there are": (26, directory(rows=1200)),
    "columns of fewer rows than codes": (26, directory(rows=1099)),
    "another field in an entry": (26, entry("n", more=1)),
    "a path that is a number": (26, entry("n", path=7)),
    "two columns of one path": (26, columns(twice)),
    "too many codes": (26, entry("n", codes=1 << 40)),
    "more codes than the limit": (26, entry("n", codes=(1 << 48) + 1)),
    "codes are text": (26, entry("n", codes="1100")),
    "one code less": (26, entry("m", codes=1099)),
    "dense codes inside arrays": (26, entry("m", nested=True)),
    "numbers that are no JSON": (26, part("n", NUMBERS, lambda data: b"x" + data[1:])),
    "numbers that are no array": (26, part("n", NUMBERS, lambda _: b"{}")),
    "numbers that are text": (26, part("m", NUMBERS, lambda _: b'["1"]')),
    "a number that is true": (26, part("m", NUMBERS, lambda _: b"[true]")),
    "a number that is none": (26, part("m", NUMBERS, lambda _: b"[NaN]")),
    "bytes behind the numbers": (26, part("m", NUMBERS, lambda _: b"[]]")),
    "numbers that descend": (26, part("m", NUMBERS, lambda _: b"[2,1]")),
    "numbers that are equal": (26, part("m", NUMBERS, lambda _: b"[1,1.0]")),
    "texts that are no MessagePack": (26, part("m", TEXTS, lambda _: b"\xc1")),
    "texts that are no array": (26, part("m", TEXTS, lambda _: b"\xa1m")),
    "texts that are numbers": (26, part("m", TEXTS, texts(1, 2))),
    "texts that are no UTF-8": (26, part("m", TEXTS, lambda _: b"\x92\xa1\xff\xa1m")),
    "bytes behind the texts": (26, part("m", TEXTS, lambda data: data + b"\x90")),
    "texts that descend": (26, part("m", TEXTS, texts("m", ""))),
    "texts that are equal": (26, part("m", TEXTS, texts("m", "m"))),
    "a code beyond the dictionary": (26, part("n", CODES, written("<H", 0, 6 + 1098))),
    "a code beyond a small dictionary": (26, part("m", CODES, written("<B", 0, 8))),
    "a sparse code for nothing": (26, part("tags", CODES, written("<B", 0, 0))),
    "rows of codes that descend": (26, part("tags", ROWS, written("<I", 0, 1000))),
    "a row of a code too far": (26, part("tags", ROWS, written("<I", -4, 1100))),
    "rows of arrays that descend": (26, part("tags", ARRAY_ROWS, written("<I", 0, 1000))),
    "a row of an array too far": (26, part("tags", ARRAY_ROWS, written("<I", -4, 1100))),
    "too many arrays": (26, entry("tags", arrays=1 << 40)),
}


def forged(case, change, *, whole=False):
    """Records in which something is changed: a page, the root, or the string of the columns."""
    forger = Forger(case[1])
    if whole:
        forger.replace_columns(change)
        return forger.finish()
    if isinstance(change, tuple):
        forger.replace(*change)
        return forger.finish()
    return forger.finish(change)


@pytest.fixture
def attacked(case, tmp_path):
    """A copy of the index, to be overwritten."""
    path = tmp_path / "forged" / "notes.cyb"
    path.parent.mkdir()
    shutil.copyfile(case[0], path)
    return path


def forged_columns(case, name):
    """The rule that is broken, and the records, of a case of the columns."""
    rule, change = COLUMN_CASES[name]
    return rule, forged(case, change, whole=rule == 26)


CASES = {**PAGES, **ROOTS}


def test_honest_forgery(case):
    """Pages that are sealed again as they were are read as before, so it is the change that counts."""
    forger = Forger(case[1])
    forger.replace(ITEM_IDS, 0, lambda data: data)
    forger.replace_columns(columns(lambda unpacked: None))
    again, before = decode(forger.finish(), KEY), decode(case[1], KEY)
    assert (again.items, again.graph) == (before.items, before.graph)
    assert again.columns == before.columns
    assert before.graph_rejected is before.columns_rejected is None
    assert before.columns.by_path["n"][7].values == [7]
    assert before.columns.by_path.keys() == {"n", "m", "tags", "tags.a"}
    assert 0 < before.graph.walked < before.graph.dimensions


def test_nodes_in_any_order(case, attacked):
    """Which node is numbered how is nobody's to reject: rows are in any order, and found."""
    forger = Forger(case[1])
    data = renumbered(forger.pages.blob(GRAPH, forger.root["graph"]["bytes"]))
    parts = [data[at : at + ROOM] for at in range(0, len(data), ROOM)]
    forger.tags[GRAPH] = [forger.seal(GRAPH, number, part) for number, part in enumerate(parts)]
    records = forger.finish()
    found, before = decode(records, KEY).graph, decode(case[1], KEY).graph
    assert found.rows == before.rows[1::-1] + before.rows[2:]
    assert list(found.rows) != sorted(found.rows)
    assert neighbours(found) == neighbours(before)
    wanted = answers(case[0])
    write_pages(attacked, records)
    assert answers(attacked) == wanted


def neighbours(graph):
    """The rows that each row leads to."""
    pairs = zip(graph.rows, graph.level0, strict=True)
    return {row: {graph.rows[node] for node in links} for row, links in pairs}


def answers(path):
    """What queries find by the graph."""
    with Client(path.parent) as client, client.load_index("notes", index_key=KEY) as index:
        assert index.describe()["indexed_rows"] == 1098
        assert index.verify().ok
        probes = np.random.default_rng(3).normal(size=(5, 64))
        return index.query(probes, top_k=3)


@pytest.mark.parametrize("name", CASES)
def test_reader_rejects(case, name):
    """The independent reader rejects what breaks a rule, and names the rule."""
    rule, change = CASES[name]
    records = forged(case, change)
    if rule in DERIVED:
        found = decode(records, KEY)
        assert (found.graph_rejected, found.columns_rejected) == (rule, None)
    else:
        with pytest.raises(RejectedError) as caught:
            decode(records, KEY)
        assert caught.value.rule == rule


@pytest.mark.parametrize("name", CASES)
def test_library_rejects(case, attacked, name):
    """The library does not answer from what breaks a rule, or does without the saved graph."""
    rule, change = CASES[name]
    write_pages(attacked, forged(case, change))
    errors = []
    with Client(attacked.parent) as client:
        try:
            index = client.load_index("notes", index_key=KEY)
        except IntegrityError:
            return
        assert rule not in AT_OPEN
        with index:
            probe = np.ones(64)
            steps = (
                lambda: index.query(probe, top_k=3, include=["distance"]),
                lambda: index.get(NAMES),
                index.list_ids,
            )
            for step in steps:
                try:
                    step()
                except IntegrityError as error:
                    errors.append(error)
            if rule in DERIVED:
                assert not errors
                assert index.describe()["indexed_rows"] == 0
            else:
                assert errors


@pytest.fixture(scope="module")
def before(case):
    """What the independent reader finds in the sound file."""
    return decode(case[1], KEY)


@pytest.mark.parametrize("name", COLUMN_CASES)
def test_reader_drops_columns(case, before, name):
    """The independent reader does without columns that break a rule, and names the rule."""
    rule, records = forged_columns(case, name)
    found = decode(records, KEY)
    assert (found.columns, found.columns_rejected) == (None, rule)
    assert (found.items, found.graph) == (before.items, before.graph)


FILTERS = (
    ({"n": {"$lt": 10}}, lambda n: n < 10),
    ({"n": {"$gte": 1050}}, lambda n: n >= 1050),
    ({"m": ""}, lambda n: n != 1),
    ({"m": {"$contains": "mm"}}, lambda n: n == 1),
    ({"tags": "y"}, lambda n: n >= 40 and n % 30 == 10),
    ({"tags": {"$size": 3}, "n": {"$gt": 600}}, lambda n: n > 600 and n % 30 == 10),
    ({"tags.a": "x"}, lambda n: n >= 40 and n % 30 == 10),
    ({"tags": {"$exists": False}}, lambda n: n < 40 or n % 30 != 10),
)


def check_filters(index):
    """Assert that every filter finds what it should."""
    for filters, means in FILTERS:
        wanted = [name for n, name in enumerate(NAMES) if means(n) and n not in {5, 1099}]
        assert index.list_ids(filters=filters) == wanted
        assert index.count(filters) == len(wanted)


@pytest.mark.parametrize("name", COLUMN_CASES)
def test_library_does_without_columns(case, attacked, name):
    """The library answers filters from the items where the columns break a rule."""
    _, records = forged_columns(case, name)
    write_pages(attacked, records)
    with Client(attacked.parent) as client, client.load_index("notes", index_key=KEY) as index:
        check_filters(index)
        assert index._session.columns.damaged
        assert index.describe()["indexed_rows"] == 1098


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
@pytest.mark.parametrize(
    "name", ["a cut page of columns", "columns too long", "columns cut", "a row of a code too far"]
)
def test_columns_are_made_anew(case, attacked, name, asked):
    """Columns that break a rule are made anew by `optimize`, whether a filter needed them or not."""
    _, records = forged_columns(case, name)
    write_pages(attacked, records)
    with Client(attacked.parent) as client, client.load_index("notes", index_key=KEY) as index:
        if asked:
            check_filters(index)
        index.optimize()
        check_filters(index)
    found = decode(read_records(attacked), KEY)
    assert found.columns_rejected is None
    assert found.columns == decode(case[1], KEY).columns


def test_columns_of_other_items(case, attacked):
    """What columns say of rows is not believed where the tag of their ITEMS page is another."""
    forger = Forger(case[1])
    forger.replace_columns(part("n", CODES, written("<4H", 0, 20, 19, 18, 17)))
    forger.replace(ITEMS, 0, lambda data: data)
    records = forger.finish()
    found = decode(records, KEY)
    assert found.columns_rejected is None
    assert found.columns.by_path["n"][31] is None
    assert found.columns.by_path["n"][32].values == [32]
    write_pages(attacked, records)
    with Client(attacked.parent) as client, client.load_index("notes", index_key=KEY) as index:
        check_filters(index)
        assert not index._session.columns.damaged


def test_columns_are_not_looked_for(case, attacked):
    """Where the root has no columns, pages of them mean nothing."""
    records = forged(case, update(columns=None))
    found = decode(records, KEY)
    assert found.columns is found.columns_rejected is None
    write_pages(attacked, records)
    with Client(attacked.parent) as client, client.load_index("notes", index_key=KEY) as index:
        check_filters(index)
        assert not index._session.columns.damaged
