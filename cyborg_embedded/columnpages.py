"""Columns as sealed pages: one byte string over all pages of the kind (blobs.py).

    string      directory length (u32) ‖ directory ‖ tags ‖ the columns, one after another ‖ zeros
    directory   MessagePack: rows, complete, and an entry for each column
    tags        the tags of the ITEMS pages that the columns were made of, 16 bytes each
    column      numbers (JSON) ‖ texts (MessagePack) ‖ codes, of 1, 2 or 4 bytes
                ‖ rows, u32 each, if it is sparse ‖ inside, one bit each, if it is nested
                ‖ rows of arrays, u32 each ‖ their lengths, u32 each

Integers little-endian. The string is padded (padding.py), so that its length tells little of a
value that was added. What the parts of a column mean is in column.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.blobs import load_blob, save_blob
from cyborg_embedded.column import FIRST_CODE, OBJECT_CODE, Column, width_of
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.items import ROWS_PER_PAGE
from cyborg_embedded.model import MAX_ROWS, PageKind
from cyborg_embedded.padding import pad
from cyborg_embedded.root import ColumnsRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

__all__ = ["Columns", "load_columns", "save_columns"]

LENGTH = struct.Struct("<I")
Count = Annotated[int, Meta(ge=0, le=1 << 48)]


@dataclass(frozen=True, slots=True, repr=False)
class Columns:
    """The columns of all paths at one commit: of `rows` rows, made of the ITEMS pages with these
    tags. Where they are not `complete`, there are paths without a column.
    """

    tags: bytes
    rows: int
    by_path: Mapping[str, Column]
    complete: bool
    deaths: int = 0
    """How many rows were dead when they were made, and maybe left out."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lengths of a column's parts: codes, arrays, and bytes of numbers and of texts."""

    path: str
    codes: Count
    sparse: bool
    nested: bool
    arrays: Count
    numbers: Count
    texts: Count


class Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is in the string."""

    rows: Annotated[int, Meta(ge=0, le=MAX_ROWS)]
    complete: bool
    columns: list[Entry]


WIDTHS = {np.uint8: "<u1", np.uint16: "<u2", np.uint32: "<u4"}
directory_decoder = msgspec.msgpack.Decoder(Directory)
numbers_decoder = msgspec.json.Decoder(list[int | float])
texts_decoder = msgspec.msgpack.Decoder(list[str])


def save_columns(view: WriteView, columns: Columns) -> None:
    """Write columns in place of those that are saved."""
    data = encode(columns)
    save_blob(view, PageKind.COLUMNS, data)
    view.root = msgspec.structs.replace(view.root, columns=ColumnsRecord(len(data)))


def load_columns(view: ReadView) -> Columns | None:
    """The saved columns, None if there are none. Raises `IntegrityError`."""
    record = view.snapshot.root.columns
    if record is None:
        return None
    columns = decode(load_blob(view, PageKind.COLUMNS, record.bytes))
    if columns.rows > view.snapshot.root.rows:
        raise malformed()
    return columns


def encode(columns: Columns) -> bytes:
    """Columns as a byte string."""
    entries, parts = [], [columns.tags]
    for path, column in columns.by_path.items():
        numbers = msgspec.json.encode(column.numbers)
        texts = msgspec.msgpack.encode(column.texts)
        parts += [numbers, texts]
        parts.append(column.codes.astype(column.codes.dtype.newbyteorder("<")).tobytes())
        if column.rows is not None:
            parts.append(column.rows.astype("<u4").tobytes())
        if column.inside is not None:
            parts.append(np.packbits(column.inside, bitorder="little").tobytes())
        parts.append(column.list_rows.astype("<u4").tobytes())
        parts.append(column.list_lengths.astype("<u4").tobytes())
        entry = Entry(
            path,
            len(column.codes),
            column.rows is not None,
            column.inside is not None,
            len(column.list_rows),
            len(numbers),
            len(texts),
        )
        entries.append(entry)
    directory = msgspec.msgpack.encode(Directory(columns.rows, columns.complete, entries))
    return pad(b"".join((LENGTH.pack(len(directory)), directory, *parts)))


def decode(data: NDArray[np.uint8]) -> Columns:
    """Columns of an authenticated byte string. Raises `IntegrityError` if it contradicts itself."""
    whole = memoryview(data)
    try:
        (length,) = LENGTH.unpack_from(whole)
        directory = directory_decoder.decode(whole[LENGTH.size : LENGTH.size + length])
        pages = -(-directory.rows // ROWS_PER_PAGE)
        reader = Reader(whole, LENGTH.size + length)
        tags = bytes(reader.take(pages * TAG_BYTES))
        columns = {entry.path: reader.column(entry, directory.rows) for entry in directory.columns}
    except (ValueError, struct.error):  # what msgspec raises is a ValueError too
        raise malformed() from None
    if bytes(whole[reader.at :]).strip(b"\0") or len(columns) != len(directory.columns):
        raise malformed()
    return Columns(tags, directory.rows, columns, directory.complete)


def malformed() -> IntegrityError:
    """The error for columns that contradict themselves."""
    message = "malformed"
    return IntegrityError(message, kind="COLUMNS", number=0)


class Reader:
    """Takes one part after another. Raises `ValueError` where one is not there or not sound."""

    def __init__(self, whole: memoryview, at: int) -> None:
        self.at = at
        self._whole = whole

    def take(self, size: int) -> memoryview:
        """So many bytes."""
        part = self._whole[self.at : self.at + size]
        check(len(part) == size)
        self.at += size
        return part

    def integers(self, count: int, kind: str) -> NDArray[Any]:
        """So many integers."""
        given = np.frombuffer(self.take(count * np.dtype(kind).itemsize), kind)
        return given.astype(given.dtype.newbyteorder("="))

    def column(self, entry: Entry, rows: int) -> Column:
        """One column of so many rows."""
        numbers = numbers_decoder.decode(self.take(entry.numbers))
        texts = texts_decoder.decode(self.take(entry.texts))
        check(all(a < b for a, b in pairwise(numbers)) and all(a < b for a, b in pairwise(texts)))
        total = FIRST_CODE + len(numbers) + len(texts)
        codes = self.integers(entry.codes, WIDTHS[width_of(total)])
        check(int(codes.max(initial=0)) < total)
        at = self.integers(entry.codes, "<u4") if entry.sparse else None
        inside = None
        if entry.nested:
            bits = np.frombuffer(self.take((entry.codes + 7) // 8), np.uint8)
            inside = np.unpackbits(bits, count=entry.codes, bitorder="little").view(np.bool_)
        arrays, lengths = self.integers(entry.arrays, "<u4"), self.integers(entry.arrays, "<u4")
        check(is_ascending(arrays, rows) and (at is None or is_ascending(at, rows)))
        check(at is not None or (entry.codes <= rows and not entry.nested))
        check(at is None or not entry.codes or int(codes.min()) >= OBJECT_CODE)
        return Column(codes, at, inside, arrays, lengths, numbers, texts)


def is_ascending(rows: NDArray[Any], count: int) -> bool:
    """Whether rows come in order, and there are as many rows as they say."""
    if not len(rows):
        return True
    return bool((rows[1:] >= rows[:-1]).all()) and int(rows[-1]) < count


def check(sound: bool) -> None:  # noqa: FBT001 - what it is called with is the point
    """Raises `ValueError` where something is not sound."""
    if not sound:
        raise ValueError
