"""A reader of index files, written from docs/FORMAT.md alone: it shares no code with the library.

`read_index` checks the whole tree of tags and gives back all that an index holds. Where the document
says that a reader must reject, it raises `RejectedError` with the number of the rule.
"""

import hashlib
import hmac
import itertools
import json
import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import lmdb
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

ROOT, TABLE, VECTORS, ITEMS, CONTENTS, METADATA = 1, 2, 3, 4, 5, 6
IDS, TOMBSTONES, NAVIGATION, GRAPH, PROJECTION, ITEM_IDS, COLUMNS = 7, 8, 9, 10, 11, 12, 13
TABLED = {VECTORS, ITEMS, IDS, TOMBSTONES, NAVIGATION, GRAPH, PROJECTION, ITEM_IDS, COLUMNS}
METRICS = {"euclidean", "squared_euclidean", "cosine", "inner_product"}
PRECISIONS = ("float32", "float16", "int8")
NO_ROW = 0xFFFFFFFF
OBJECT, ARRAY = ("an object",), ("an array in an array",)
"""What columns say in place of an object, and of an array inside an array."""


class RejectedError(Exception):
    """The file breaks a rule of docs/FORMAT.md, "A reader MUST reject"; `rule` is its number."""

    def __init__(self, rule):
        super().__init__(f"rule {rule}")
        self.rule = rule


def check(sound, rule):
    """Reject, unless `sound`."""
    if not sound:
        raise RejectedError(rule)


@dataclass
class Item:
    """What one live row holds. `vector` is d floats."""

    id: str
    row: int
    vector: tuple
    metadata: dict | None
    contents: str | bytes | None


@dataclass
class SavedGraph:
    """Links by node; codes by row; the projection's four parts as tuples of floats."""

    covered: int
    m: int
    ef_construction: int
    max_level: int
    entry: int
    rows: tuple
    levels: bytes
    level0: list
    upper: list
    dimensions: int
    walked: int
    codes: list
    basis: tuple
    offset: tuple
    scale: tuple
    stretch: tuple


class GoesOn(NamedTuple):
    """A text of more than 64 characters, by the first 64."""

    start: str


class Reached(NamedTuple):
    """What a path leads to in a row: values, elements of arrays, lengths of arrays."""

    values: list
    elements: list
    lengths: list


@dataclass
class SavedColumns:
    """What each path leads to in each row: `Reached`, or None for rows to be read from ITEMS."""

    covered: int
    complete: bool
    by_path: dict
    dense: set
    """The paths with a code for each row."""


@dataclass
class Index:
    """One commit of an index, as a reader sees it."""

    root: dict
    commit_id: bytes
    items: list
    graph: SavedGraph | None
    graph_rejected: int | None
    """The rule that the saved graph breaks, if there is one and it does."""
    columns: SavedColumns | None
    columns_rejected: int | None
    """Likewise of the saved columns."""

    @property
    def sequence(self):
        return self.root["sequence"]


def read_records(path):
    """All records of a file that nobody writes to."""
    options = {"subdir": False, "lib_version": 0, "readonly": True, "lock": False}
    with lmdb.open(str(path), **options) as environment, environment.begin() as txn:
        return dict(txn.cursor())


def read_index(path, index_key):
    """The newest commit of the index at `path`. Raises `RejectedError`."""
    return decode(read_records(path), index_key)


def decode(records, index_key):
    """The commit in these records."""
    header = read_header(records)
    keys = derive_keys(index_key, header["salt"])
    check(hmac.compare_digest(keys["verifier"], header["verifier"]), 5)
    pages = Pages(records, header, keys["pages"])
    items = read_items(pages)
    check_ids(pages, items, keys["ids"])
    graph = read_derived(pages, "graph", read_graph)
    columns = read_derived(pages, "columns", read_columns)
    return Index(pages.root, pages.commit_id, items, *graph, *columns)


def read_derived(pages, field, read):
    """What a reader can do without, and the rule that it breaks: both None if it is not there."""
    if pages.root[field] is None:
        return None, None
    try:
        return read(pages), None
    except RejectedError as error:
        return None, error.rule


def read_header(records):
    """The fields of the header."""
    data = records.get(b"\x00", b"")
    check(data[:16] == b"CYBORG-EMBEDDED\x00", 2)
    check(data[16:18] == b"\x00\x01", 3)
    check(112 <= len(data) <= 112 + 262_144, 4)
    reserved, page_size, created = struct.unpack(">HIQ", data[18:32])
    check(reserved == 0 and 256 <= page_size <= 1_048_576 and created <= 253_402_300_799, 4)
    return {
        "page_size": page_size,
        "created": created,
        "index_id": data[32:48],
        "salt": data[48:80],
        "verifier": data[80:112],
        "envelopes": read_envelopes(data[112:]),
        "digest": hashlib.sha256(data).digest(),
    }


def read_envelopes(data):
    """The envelopes by slot."""
    if not data:
        return {}
    envelopes = whole_messagepack(data, 4)
    check(isinstance(envelopes, dict) and 1 <= len(envelopes) <= 16, 4)
    check(shortest_messagepack(envelopes) == data, 4)
    for slot, envelope in envelopes.items():
        check(isinstance(slot, str) and 1 <= len(slot) <= 64 and slot.isprintable(), 4)
        check(isinstance(envelope, dict), 4)
        check(list(envelope) == ["provider", "ciphertext", "parameters"], 4)
        provider, ciphertext, parameters = envelope.values()
        check(isinstance(provider, str) and 1 <= len(provider) <= 64, 4)
        check(isinstance(ciphertext, bytes) and 1 <= len(ciphertext) <= 8192, 4)
        check(isinstance(parameters, dict) and len(parameters) <= 16, 4)
        for name, value in parameters.items():
            check(isinstance(name, str) and 1 <= len(name) <= 64, 4)
            number = type(value) is int and 0 <= value <= 1 << 32
            check(number or (isinstance(value, (str, bytes)) and len(value) <= 256), 4)
    return envelopes


def derive_keys(index_key, salt):
    """Pages key, ids key, verifier."""

    def mac(key, message):
        return hmac.new(key, message, hashlib.sha256).digest()

    prk = mac(salt, index_key)
    expanded = {
        label: mac(prk, b"cyborg-embedded/v1/" + label.encode() + b"\x01")
        for label in ("pages", "ids", "verifier")
    }
    expanded["verifier"] = hashlib.sha256(expanded["verifier"]).digest()
    return expanded


def derive_message_key(pages_key, first_half):
    """Kx."""
    block = Cipher(AES(pages_key), ECB()).encryptor().update  # noqa: S305 - a single block, inside CMAC
    doubled = int.from_bytes(block(bytes(16)), "big") << 1
    if doubled >> 128:
        doubled = doubled & ((1 << 128) - 1) ^ 0x87
    halves = []
    for counter in (1, 2):
        message = bytes([0, counter, 0x58, 0]) + first_half
        halves.append(block((int.from_bytes(message, "big") ^ doubled).to_bytes(16, "big")))
    return b"".join(halves)


class Pages:
    """The sealed pages of one commit, opened from the root down."""

    def __init__(self, records, header, pages_key):
        self._records, self._header, self._key = records, header, pages_key
        self._derived = {}
        self.page_size = header["page_size"]
        self.room = self.page_size - 40
        place = b"\x01" + bytes(8)
        sealed = self._stored(place)
        plaintext = self._open(sealed, header["index_id"] + place + header["digest"])
        self.commit_id = sealed[-16:]
        self.root = read_root(plaintext, self.room // 16)
        self._tags = {kind: self._table(kind, table) for kind, table in self.root["tables"].items()}

    def _stored(self, place):
        sealed = self._records.get(place, b"")
        check(len(sealed) >= 40, 6)
        return sealed

    def _open(self, sealed, aad):
        first = sealed[:12]
        if first not in self._derived:
            self._derived[first] = AESGCM(derive_message_key(self._key, first))
        try:
            return self._derived[first].decrypt(sealed[12:24], sealed[24:], aad)
        except InvalidTag:
            raise RejectedError(8) from None

    def _table(self, kind, table):
        parts = []
        for chunk in range(len(table["chunks"]) // 16):
            tag = table["chunks"][16 * chunk : 16 * chunk + 16]
            parts.append(self.open_bound(TABLE, (kind << 48) + chunk, tag))
            full = self.room // 16 * 16
            check(len(parts[-1]) == min(full, 16 * table["pages"] - chunk * full), 9)
        tags = b"".join(parts)
        return [tags[at : at + 16] for at in range(0, len(tags), 16)]

    def tag(self, kind, number):
        """The tag that the page table has for a page."""
        check(number < self.count(kind), 14)
        return self._tags[kind][number]

    def count(self, kind):
        """How many pages of a kind there are."""
        return len(self._tags.get(kind, ()))

    def open(self, kind, number, length=None):
        """The plaintext of a page of the page table, of this length if it has a fixed one."""
        plaintext = self.open_bound(kind, number, self.tag(kind, number))
        check(length is None or len(plaintext) == length, 9)
        return plaintext

    def open_bound(self, kind, number, tag):
        """The plaintext of the page with this tag."""
        place = bytes([kind]) + number.to_bytes(8, "big")
        sealed = self._stored(place)
        check(sealed[-16:] == tag, 7)
        return self._open(sealed, self._header["index_id"] + place)

    def blob(self, kind, length):
        """All pages of a kind as one byte string."""
        check(self.count(kind) == -(-length // self.room), 24)
        lengths = [min(self.room, length - at) for at in range(0, length, self.room)]
        return b"".join(self.open(kind, page, part) for page, part in enumerate(lengths))


def whole_messagepack(data, rule):
    """The one value that there is."""
    try:
        value, end = read_messagepack(data)
    except RejectedError:
        raise RejectedError(rule) from None
    check(end == len(data), rule)
    return value


def read_messagepack(data, at=0):
    """The value at an offset, and the offset behind it: what roots and columns are made of."""
    check(at < len(data), 10)
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first & 0xE0 == 0x80 or 0xDC <= first <= 0xDF:
        return read_container(data, at, first)
    if 0xCA <= first <= 0xCF:
        return read_number(data, at, first)
    if first & 0xE0 == 0xA0 or 0xD9 <= first <= 0xDB:
        width = 1 << (first - 0xD9) if first >= 0xD9 else None
        count, at = read_length(data, at, first & 0x1F, width)
        check(at + count <= len(data), 10)
        try:
            return data[at : at + count].decode(), at + count
        except UnicodeDecodeError:
            raise RejectedError(10) from None
    check(0xC4 <= first <= 0xC6, 10)
    count, at = read_length(data, at, 0, 1 << (first - 0xC4))
    check(at + count <= len(data), 10)
    return data[at : at + count], at + count


def read_number(data, at, first):
    """One of a float of 4 or 8 bytes, or of an integer of 1 to 8."""
    if first >= 0xCC:
        return read_length(data, at, 0, 1 << (first - 0xCC))
    width = 4 if first == 0xCA else 8
    check(at + width <= len(data), 10)
    return struct.unpack_from(">f" if width == 4 else ">d", data, at)[0], at + width


def read_container(data, at, first):
    """A map or an array."""
    width = None if first < 0xDC else 4 if first & 1 else 2
    count, at = read_length(data, at, first & 0x0F, width)
    if first & 0xF0 == 0x80 or first >= 0xDE:
        value = {}
        for _ in range(count):
            name, at = read_messagepack(data, at)
            check(type(name) in {int, str} and name not in value, 10)
            value[name], at = read_messagepack(data, at)
        return value, at
    values = []
    for _ in range(count):
        value, at = read_messagepack(data, at)
        values.append(value)
    return values, at


def shortest_messagepack(value):
    """The one encoding that envelopes have."""
    if isinstance(value, dict):
        items = (shortest_messagepack(each) for pair in value.items() for each in pair)
        return count_of(len(value), 0x80, 15, {2: 0xDE}) + b"".join(items)
    if isinstance(value, str):
        text = value.encode()
        return count_of(len(text), 0xA0, 31, {1: 0xD9, 2: 0xDA}) + text
    if isinstance(value, bytes):
        return count_of(len(value), 0, -1, {1: 0xC4, 2: 0xC5}) + value
    check(type(value) is int, 4)
    return count_of(value, 0, 127, {1: 0xCC, 2: 0xCD, 4: 0xCE, 8: 0xCF})


def count_of(number, short, most, widths):
    """A number in the first byte, or behind it in as few bytes as do."""
    if number <= most:
        return bytes([short + number])
    for width, first in widths.items():
        if number < 1 << 8 * width:
            return bytes([first]) + number.to_bytes(width, "big")
    raise RejectedError(4)


def read_length(data, at, short, width):
    """A number that follows in `width` bytes, or stood in the first one."""
    if width is None:
        return short, at
    check(at + width <= len(data), 10)
    return int.from_bytes(data[at : at + width], "big"), at + width


def take(record, fields, rule=10):
    """A map's fields, with defaults: each `name: (is it sound, default or None)`."""
    check(isinstance(record, dict) and record.keys() <= fields.keys(), rule)
    taken = {}
    for name, (is_sound, default) in fields.items():
        check(name in record or default is not None, rule)
        taken[name] = record.get(name, default[0] if default else None)
        check(is_sound(taken[name]), rule)
    return taken


def whole(most):
    """A test for whole numbers up to `most`."""
    return lambda value: type(value) is int and 0 <= value <= most


def a_map(value):
    return isinstance(value, dict)


def a_boolean(value):
    return isinstance(value, bool)


def ascends(values):
    return all(low < high for low, high in pairwise(values))


def are_names(value):
    return (
        isinstance(value, list)
        and len(value) <= 256
        and all(isinstance(name, str) and 1 <= len(name) <= 1024 for name in value)
    )


def are_efforts(value):
    width, share = whole(1 << 20), whole(10_000)
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
        and all(width(pair[0]) and pair[0] > 0 and share(pair[1]) for pair in value)
    )


def are_distances(value):
    return (
        isinstance(value, list)
        and len(value) <= 2
        and all(type(each) in (int, float) and each >= 0 for each in value)
    )


def read_root(plaintext, tags_per_chunk):
    """The root record, with defaults filled in."""
    root = take(
        whole_messagepack(plaintext, 10),
        {
            "sequence": (whole(1 << 48), None),
            "metric": (lambda value: value in METRICS, None),
            "dimension": (whole(16_384), None),
            "rows": (whole(1 << 31), (0,)),
            "live": (whole(1 << 31), (0,)),
            "ids": (a_map, ({},)),
            "tables": (a_map, ({},)),
            "graph": (lambda value: value is None or a_map(value), (None,)),
            "precision": (lambda value: value in PRECISIONS, ("float32",)),
            "navigator_dimensions": (whole(16_384), (0,)),
            "columns": (lambda value: value is None or a_map(value), (None,)),
            "hidden": (are_names, ([],)),
        },
    )
    count = whole(1 << 48)
    root["ids"] = take(root["ids"], {"entries": (count, (0,)), "sorted": (count, (0,))})
    if root["graph"] is not None:
        fields = {"rows": (whole(1 << 31), None), "bytes": (count, None)}
        fields |= dict.fromkeys(("dimensions", "walked"), (whole(16_384), (0,)))
        fields["efforts"] = (are_efforts, ([],))
        fields["far"] = (are_distances, ([],))
        root["graph"] = take(root["graph"], fields)
        check(root["graph"]["rows"] <= root["rows"], 12)
        pairs = root["graph"]["efforts"]
        check(all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(pairs)), 12)
        of_each = 2 if root["graph"]["dimensions"] else 1
        check(len(root["graph"]["far"]) in (0, of_each), 12)
    if root["columns"] is not None:
        root["columns"] = take(root["columns"], {"bytes": (count, None)})
    check(ascends(root["hidden"]), 12)
    check(root["tables"].keys() <= TABLED, 11)
    fields = {"pages": (count, (0,)), "chunks": (lambda value: isinstance(value, bytes), (b"",))}
    root["tables"] = {kind: take(table, fields) for kind, table in root["tables"].items()}
    for table in root["tables"].values():
        check(len(table["chunks"]) == 16 * -(-table["pages"] // tags_per_chunk), 11)
    check(root["ids"]["sorted"] <= root["ids"]["entries"] and root["live"] <= root["rows"], 12)
    check(root["dimension"] or not root["rows"], 12)
    return root


def row_bytes_of(dimension, precision):
    return {"float32": 4 * dimension, "float16": 2 * dimension, "int8": 4 + dimension}[precision]


def floats_of(row, dimension, precision):
    """A stored row as numbers."""
    if precision == "int8":
        scale, *codes = struct.unpack(f"<f{dimension}b", row)
        return [scale * code for code in codes]
    return list(struct.unpack(f"<{dimension}{'e' if precision == 'float16' else 'f'}", row))


def vector_layout(dimension, page_size, precision="float32"):
    """R, P, and the plaintext bytes of a page (of all but the last of a row, where P > 1)."""
    row, room = row_bytes_of(dimension, precision), page_size - 40
    room4 = room // 4 * 4
    if room4 < row:
        return 1, -(-row // room4), room4
    best = (Fraction(0), 0)
    for blocks in range(2, (page_size + 16) // 4096 + 1):
        rows = (4096 * blocks - 56) // row
        used = Fraction(rows * row, 4096 * blocks)
        if used >= Fraction(9, 10):
            return rows, 1, rows * row
        best = max(best, (used, rows))
    rows = best[1] or room // row
    return rows, 1, rows * row


def read_vectors(pages):
    """The vectors of all rows, live or dead, as bytes."""
    rows, layout = pages.root["rows"], (pages.root["dimension"], pages.root["precision"])
    if not rows:
        return []
    row_bytes = row_bytes_of(*layout)
    per_page, per_row, length = vector_layout(layout[0], pages.page_size, layout[1])
    vectors = []
    for page in range(0, -(-rows // per_page) * per_row, per_row):
        lengths = [length] * (per_row - 1) + [row_bytes * per_page - length * (per_row - 1)]
        together = b"".join(pages.open(VECTORS, page + n, part) for n, part in enumerate(lengths))
        vectors += [together[at : at + row_bytes] for at in range(0, len(together), row_bytes)]
    return vectors[:rows]


def read_dead(pages):
    """The rows that are dead."""
    rows = pages.root["rows"]
    bits = [pages.open(TOMBSTONES, page, pages.room) for page in range(pages.count(TOMBSTONES))]
    together = b"".join(bits)
    dead = {row for row in range(min(rows, 8 * len(together))) if together[row // 8] >> row % 8 & 1}
    check(rows - len(dead) == pages.root["live"], 15)
    return dead


def read_item_ids(pages):
    """The ids of all rows, as bytes."""
    found = []
    for page in range(-(-pages.root["rows"] // 512)):
        data = pages.open(ITEM_IDS, page)
        check(len(data) >= 4, 16)
        (count,) = struct.unpack_from("<I", data)
        check(min(pages.root["rows"] - 512 * page, 512) <= count <= 512, 16)
        at = 4 + 2 * count
        check(at <= len(data), 17)
        for length in struct.unpack_from(f"<{count}H", data, 4):
            check(0 < length <= 1024 and at + length <= len(data), 17)
            found.append(data[at : at + length])
            at += length
    return found[: pages.root["rows"]]


def read_items(pages):
    """All live rows, in their order."""
    vectors, dead, ids = read_vectors(pages), read_dead(pages), read_item_ids(pages)
    items = []
    for row in range(pages.root["rows"]):
        if row % 32 == 0:
            data = pages.open(ITEMS, row // 32)
            offsets = read_offsets(data, min(pages.root["rows"] - row, 32))
        if row in dead:
            continue
        record = data[offsets[row % 32] : offsets[row % 32 + 1]]
        metadata, contents = read_record(pages, row, record)
        vector = floats_of(vectors[row], pages.root["dimension"], pages.root["precision"])
        try:
            items.append(Item(ids[row].decode(), row, vector, metadata, contents))
        except UnicodeDecodeError:
            raise RejectedError(21) from None
    return items


def read_offsets(data, wanted):
    """The offsets of an ITEMS page that has to have so many records."""
    check(len(data) >= 4, 16)
    (count,) = struct.unpack_from("<I", data)
    head = 4 * (count + 2)
    check(max(wanted, 1) <= count <= 32, 16)
    check(head <= len(data), 18)
    offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
    ends = [head, *offsets, len(data)]
    check(ends == sorted(ends), 18)
    return offsets


def read_record(pages, row, record):
    """Metadata and contents of a row."""
    check(len(record) >= 9, 19)
    flags, metadata_length, contents_length = struct.unpack_from("<BII", record)
    check(flags < 16 and flags & 3 != 3 and (flags & 3 or not contents_length), 19)
    check(metadata_length <= 1 << 20 and contents_length <= 64 << 20, 19)
    middle = 9 + (16 if flags & 4 else metadata_length)
    check(len(record) == middle + (16 if flags & 8 else contents_length), 19)
    metadata, contents = record[9:middle], record[middle:]
    if flags & 4:
        metadata = read_apart(pages, METADATA, row, metadata, metadata_length)
    if flags & 8:
        contents = read_apart(pages, CONTENTS, row, contents, contents_length)
    try:
        parsed = json.loads(metadata.decode()) if metadata else None
        text = contents.decode() if flags & 1 else contents
    except ValueError:
        raise RejectedError(21) from None
    return parsed, text if flags & 3 else None


def read_apart(pages, kind, row, tag, length):
    """Metadata or contents on a page of their own."""
    plaintext = pages.open_bound(kind, row, tag)
    check(len(plaintext) >= length, 20)
    return plaintext[:length]


def check_ids(pages, items, ids_key):
    """See that the id entries lead to the live rows, each to its own, and to nothing else."""
    entries, in_order = pages.root["ids"]["entries"], pages.root["ids"]["sorted"]
    per_page = pages.room // 20
    check(pages.count(IDS) == -(-entries // per_page), 22)
    data = b"".join(
        pages.open(IDS, page, 20 * min(per_page, entries - page * per_page))
        for page in range(pages.count(IDS))
    )
    pairs = list(struct.iter_unpack("<16sI", data))
    first = [blinded for blinded, _ in pairs[:in_order]]
    check(all(low < high for low, high in itertools.pairwise(first)), 22)
    check(all(row < pages.root["rows"] or row == NO_ROW for _, row in pairs), 22)
    check(all(row != NO_ROW for _, row in pairs[:in_order]), 22)
    found = {blinded: row for blinded, row in dict(pairs).items() if row != NO_ROW}
    wanted = {
        hmac.new(ids_key, item.id.encode(), hashlib.sha256).digest()[:16]: item.row
        for item in items
    }
    check(found == wanted, 23)


def read_graph(pages):
    """The saved graph."""
    record, d = pages.root["graph"], pages.root["dimension"]
    covered, m, walked = record["rows"], record["dimensions"], record["walked"]
    codes, floats = [], ()
    check(walked <= m, 24)
    if m:
        check(0 < walked <= m <= pages.room, 24)
        floats = struct.unpack(f"<{m * (d + 3)}f", pages.blob(PROJECTION, 4 * m * (d + 3)))
        check(all(map(math.isfinite, floats)), 24)
        per_page = pages.room // m
        check(pages.count(NAVIGATION) == -(-covered // per_page), 24)
        for page in range(pages.count(NAVIGATION)):
            data = pages.open(NAVIGATION, page, per_page * m)
            codes += [data[at : at + m] for at in range(0, len(data), m)]
    links = read_links(pages.blob(GRAPH, record["bytes"]), covered)
    ends = [0, d * m, *((d + part) * m for part in (1, 2, 3))]
    parts = [floats[start:end] for start, end in itertools.pairwise(ends)]
    check(all(1 <= number <= 2 for number in parts[-1]), 24)
    return SavedGraph(covered, *links, m, walked, codes[:covered], *parts)


def read_links(data, covered):
    """M, ef_construction, highest level, entry node, rows, levels, links at level 0, and above."""
    check(len(data) >= 24, 25)
    version, n, m, ef, max_level, entry = struct.unpack_from("<6I", data)
    check(version == 1 and 0 < n <= covered and 2 <= m <= 256 and m <= ef <= 65_536, 25)
    check(entry < n and max_level <= 255, 25)
    levels_at = 24 + 4 * n
    level0_at = levels_at + n + -n % 4
    upper_at = level0_at + 4 * n * (1 + 2 * m)
    check(len(data) >= upper_at, 25)
    rows, levels = struct.unpack_from(f"<{n}I", data, 24), data[levels_at : levels_at + n]
    check(len(data) == upper_at + 4 * sum(levels) * (1 + m), 25)
    check(max(rows) < covered and len(set(rows)) == n, 25)
    check(max(levels) == max_level == levels[entry], 25)
    level0 = [read_list(data, level0_at + 4 * node * (1 + 2 * m), 2 * m) for node in range(n)]
    upper, at = [], upper_at
    for level in levels:
        lists = [read_list(data, at + 4 * place * (1 + m), m) for place in range(level)]
        at += 4 * level * (1 + m)
        upper.append(lists)
    check(all(link < n for links in level0 for link in links), 25)
    for lists in upper:
        for level, links in enumerate(lists, 1):
            check(all(link < n and levels[link] >= level for link in links), 25)
    return m, ef, max_level, entry, rows, levels, level0, upper


def read_list(data, at, most):
    """The links of one list."""
    (count,) = struct.unpack_from("<I", data, at)
    check(count <= most, 25)
    return struct.unpack_from(f"<{count}I", data, at + 4)


class Parts:
    """A byte string, taken part by part."""

    def __init__(self, data):
        self._data, self._at = data, 0

    def take(self, size):
        """So many bytes."""
        self._at += size
        check(self._at <= len(self._data), 26)
        return self._data[self._at - size : self._at]

    def integers(self, count, width):
        """So many integers of so many bytes."""
        letter = {1: "B", 2: "H", 4: "I"}[width]
        return struct.unpack(f"<{count}{letter}", self.take(count * width))

    def end(self):
        """See that nothing but zeros is left."""
        check(not any(self._data[self._at :]), 26)


def read_columns(pages):
    """The saved columns."""
    parts = Parts(pages.blob(COLUMNS, pages.root["columns"]["bytes"]))
    (size,) = parts.integers(1, 4)
    count = whole(1 << 48)
    directory = take(
        whole_messagepack(parts.take(size), 26),
        {
            "rows": (whole(pages.root["rows"]), None),
            "complete": (a_boolean, None),
            "columns": (lambda value: isinstance(value, list), None),
        },
        26,
    )
    fields = dict.fromkeys(("codes", "arrays", "numbers", "texts"), (count, None))
    fields |= dict.fromkeys(("sparse", "nested"), (a_boolean, None))
    fields["path"] = (lambda value: isinstance(value, str), None)
    covered = directory["rows"]
    tags = [parts.take(16) for _ in range(-(-covered // 32))]
    entries = [take(entry, fields, 26) for entry in directory["columns"]]
    by_path = {entry["path"]: read_column(parts, entry, covered) for entry in entries}
    parts.end()
    check(len(by_path) == len(entries), 26)
    for column in by_path.values():
        column.extend([None] * (pages.root["rows"] - covered))
        for page, tag in enumerate(tags):
            if tag != pages.tag(ITEMS, page):
                end = min(32 * page + 32, covered)
                column[32 * page : end] = [None] * (end - 32 * page)
    dense = {entry["path"] for entry in entries if not entry["sparse"]}
    return SavedColumns(covered, directory["complete"], by_path, dense)


def read_column(parts, entry, covered):
    """What one path leads to in each row."""
    dictionary = [None, OBJECT, ARRAY, None, False, True]
    dictionary += read_numbers(parts.take(entry["numbers"]))
    dictionary += read_texts(parts.take(entry["texts"]))
    total, n = len(dictionary), entry["codes"]
    codes = parts.integers(n, 1 if total <= 1 << 8 else 2 if total <= 1 << 16 else 4)
    check(max(codes, default=0) < total, 26)
    if entry["sparse"]:
        rows = parts.integers(n, 4)
        check(min(codes, default=1) > 0, 26)
    else:
        check(n <= covered and not entry["nested"], 26)
        rows = range(n)
    bits = parts.take(-(-n // 8)) if entry["nested"] else bytes(n)
    array_rows, lengths = parts.integers(entry["arrays"], 4), parts.integers(entry["arrays"], 4)
    for given in (rows, array_rows):
        check(all(low <= high for low, high in pairwise(given)), 26)
        check(not given or given[-1] < covered, 26)
    column = [Reached([], [], []) for _ in range(covered)]
    for at, (row, code) in enumerate(zip(rows, codes, strict=True)):
        if code:
            inside = bits[at // 8] >> at % 8 & 1
            column[row][inside].append(dictionary[code])
    for row, length in zip(array_rows, lengths, strict=True):
        column[row].lengths.append(length)
    return column


def read_numbers(data):
    """A JSON array of numbers that ascend."""
    try:
        numbers = json.loads(data.decode())
    except ValueError:
        raise RejectedError(26) from None
    check(isinstance(numbers, list), 26)
    check(all(type(number) is int or is_finite(number) for number in numbers), 26)
    check(ascends(numbers), 26)
    return numbers


def is_finite(value):
    return type(value) is float and math.isfinite(value)


def read_texts(data):
    """A MessagePack array of texts that ascend: each whole, or `GoesOn`."""
    texts = whole_messagepack(data, 26)
    check(isinstance(texts, list) and all(isinstance(text, str) for text in texts), 26)
    check(ascends(texts), 26)
    return [GoesOn(text[:64]) if len(text) > 64 else text for text in texts]
