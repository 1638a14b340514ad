"""Item pages: the metadata and contents of a run of 32 rows.

    page    count (u32) ‖ count + 1 offsets (u32, of records from the start of the page) ‖ records
            ‖ zeros up to the padded length
    record  flags (u8) ‖ metadata length (u32) ‖ contents length (u32)
            ‖ metadata, or the tag of its METADATA page ‖ contents, or the tag of its CONTENTS page

Integers little-endian. Row r is record r % 32 of page r // 32, so one row decodes without the
others. Metadata is JSON (UTF-8, no spaces added); length 0 means that there is none. Metadata or
contents of more than 512 bytes stand in a page of their own, numbered by the row, and the record
keeps its tag: dropping or swapping it is noticed. All plaintexts are padded (padding.py), so that a
length tells at most its order of magnitude and a few bits.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from typing import TYPE_CHECKING

import msgspec

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import MAX_CONTENTS_BYTES, MAX_METADATA_BYTES, PageKind
from cyborg_embedded.padding import pad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cyborg_embedded.pages import ReadView, WriteView

    OpenPage = Callable[[int], "ItemPage"]

__all__ = [
    "ROWS_PER_PAGE",
    "ItemPage",
    "Payload",
    "append_copied",
    "drop_overflow",
    "write_items",
]

ROWS_PER_PAGE = 32
INLINE_BYTES = 512

HAS_TEXT = 1
HAS_BYTES = 2
METADATA_APART = 4
CONTENTS_APART = 8
FLAGS = frozenset(
    kind | apart
    for kind in (0, HAS_TEXT, HAS_BYTES)
    for apart in (0, METADATA_APART, CONTENTS_APART, METADATA_APART | CONTENTS_APART)
)
FIXED = struct.Struct("<BII")
COUNT = struct.Struct("<I")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """What an item carries besides its id and vector, encoded."""

    metadata: bytes = b""
    contents: bytes | None = None
    is_text: bool = False

    def __repr__(self) -> str:
        return "<Payload>"


class PageBuilder:
    """The records of a page, one after another."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._lengths: list[int] = []

    def keep(self, record: bytes) -> None:
        """Add a record as it was."""
        self._parts.append(record)
        self._lengths.append(len(record))

    def add(self, view: WriteView, first: int, payloads: Iterable[Payload]) -> None:
        """Add the records of rows from `first` on; what is long is sealed on its own here."""
        parts, record_lengths, pack = self._parts, self._lengths, FIXED.pack
        for row, payload in enumerate(payloads, first):
            metadata, contents = payload.metadata, payload.contents
            flags = 0
            if contents is None:
                contents = b""
            else:
                flags = HAS_TEXT if payload.is_text else HAS_BYTES
            metadata_length, contents_length = len(metadata), len(contents)
            if metadata_length > INLINE_BYTES:
                flags |= METADATA_APART
                metadata = view.seal_bound(PageKind.METADATA, row, pad(metadata))
            if contents_length > INLINE_BYTES:
                flags |= CONTENTS_APART
                contents = view.seal_bound(PageKind.CONTENTS, row, pad(contents))
            parts += (pack(flags, metadata_length, contents_length), metadata, contents)
            record_lengths.append(FIXED.size + len(metadata) + len(contents))

    def plaintext(self) -> bytes:
        """The plaintext of the page."""
        count = len(self._lengths)
        offsets = itertools.accumulate(self._lengths, initial=COUNT.size * (count + 2))
        return pad(b"".join((struct.pack(f"<{count + 2}I", count, *offsets), *self._parts)))


def write_items(view: WriteView, rows: int, payloads: Mapping[int, Payload]) -> None:
    """Write the items of `payloads` (row to payload), new rows and replaced ones alike.

    `rows` is the row count before; new rows follow it without a gap.
    """
    pages: dict[int, list[int]] = {}
    for row in sorted(payloads):
        pages.setdefault(row // ROWS_PER_PAGE, []).append(row)
    for page, members in pages.items():
        first = page * ROWS_PER_PAGE
        builder = PageBuilder()
        if first < rows:
            old = ItemPage(view.open(PageKind.ITEMS, page), page)
            old.check_count(min(rows - first, ROWS_PER_PAGE))
            for slot in range(old.count):
                row = first + slot
                if row in payloads:
                    drop_overflow(view, row, old.record(slot))
                    builder.add(view, row, [payloads[row]])
                else:
                    builder.keep(old.record(slot))
        new = members[bisect.bisect_left(members, rows) :]
        if new:
            builder.add(view, new[0], map(payloads.__getitem__, new))
        view.seal(PageKind.ITEMS, page, builder.plaintext())


def append_copied(
    view: WriteView, rows: int, source: ReadView, copied: Sequence[int], open_page: OpenPage
) -> None:
    """Write the items of some rows of another index, ascending, as rows `rows` and following.

    `rows` is the first row of a page.
    """
    for start in range(0, len(copied), ROWS_PER_PAGE):
        members = copied[start : start + ROWS_PER_PAGE]
        number, rest = divmod(members[0], ROWS_PER_PAGE)
        page = open_page(number)
        plaintext = page.whole() if not rest and len(members) == page.count else None
        if plaintext is None or members[-1] - members[0] + 1 != len(members):
            builder = PageBuilder()
            for place, row in enumerate(members, rows + start):
                number, slot = divmod(row, ROWS_PER_PAGE)
                page = open_page(number)
                record = page.record(slot)
                if record[0] & (METADATA_APART | CONTENTS_APART):
                    builder.add(view, place, [page.payload(source, slot)])
                else:
                    builder.keep(record)
            plaintext = builder.plaintext()
        view.seal(PageKind.ITEMS, (rows + start) // ROWS_PER_PAGE, plaintext)


def drop_overflow(view: WriteView, row: int, record: bytes) -> None:
    """Remove the METADATA and CONTENTS pages of a row that is deleted or rewritten."""
    if record[0] & METADATA_APART:
        view.drop_bound(PageKind.METADATA, row)
    if record[0] & CONTENTS_APART:
        view.drop_bound(PageKind.CONTENTS, row)


class ItemPage:
    """One authenticated item page, decoded row by row on demand."""

    __slots__ = ("_data", "_offsets", "count", "number")

    def __init__(self, data: bytes, number: int) -> None:
        """Raises `IntegrityError` if the page contradicts itself."""
        self._data = data
        self.number = number
        if len(data) < COUNT.size:
            raise self._malformed()
        (self.count,) = COUNT.unpack_from(data)
        head = COUNT.size * (self.count + 2)
        if not 0 < self.count <= ROWS_PER_PAGE or head > len(data):
            raise self._malformed()
        self._offsets: tuple[int, ...] = struct.unpack_from(f"<{self.count + 1}I", data, COUNT.size)
        ends = (head, *self._offsets, len(data))
        if sorted(ends) != list(ends):
            raise self._malformed()

    def __len__(self) -> int:
        return len(self._data)

    def _malformed(self) -> IntegrityError:
        message = "malformed"
        return IntegrityError(message, kind="ITEMS", number=self.number)

    def check_count(self, rows: int) -> None:
        """See that it has the records of so many rows. Raises `IntegrityError`."""
        if self.count != rows:
            raise self._malformed()

    def record(self, slot: int) -> bytes:
        """The bytes of one record. Raises `IntegrityError` for a slot that is not there."""
        start, end = self._bounds(slot)
        return self._data[start:end]

    def _bounds(self, slot: int) -> tuple[int, int]:
        if slot >= self.count:
            raise self._malformed()
        start, end = self._offsets[slot], self._offsets[slot + 1]
        if end - start < FIXED.size:
            raise self._malformed()
        return start, end

    def has_apart(self, slot: int, kind: PageKind) -> bool:
        """Whether the METADATA or CONTENTS of a row stand on a page of their own."""
        start, _ = self._bounds(slot)
        flag = METADATA_APART if kind is PageKind.METADATA else CONTENTS_APART
        return bool(self._data[start] & flag)

    def whole(self) -> bytes | None:
        """The plaintext, if it holds everything that its items have; None if some is apart."""
        data = self._data
        for start in self._offsets[:-1]:
            if start >= len(data):
                raise self._malformed()
            if data[start] & (METADATA_APART | CONTENTS_APART):
                return None
        return data

    def payload(
        self, view: ReadView, slot: int, *, metadata: bool = True, contents: bool = True
    ) -> Payload:
        """One row's payload; what is not asked for is not opened, and left empty."""
        start, end = self._bounds(slot)
        data, row = self._data, self.number * ROWS_PER_PAGE + slot
        flags, metadata_length, contents_length = FIXED.unpack_from(data, start)
        metadata_end = TAG_BYTES if flags & METADATA_APART else metadata_length
        contents_end = TAG_BYTES if flags & CONTENTS_APART else contents_length
        metadata_start = start + FIXED.size
        contents_start = metadata_start + metadata_end
        if (
            flags not in FLAGS
            or (not flags & (HAS_TEXT | HAS_BYTES) and contents_length)
            or metadata_length > MAX_METADATA_BYTES
            or contents_length > MAX_CONTENTS_BYTES
            or contents_start + contents_end != end
        ):
            raise self._malformed()
        metadata_part = data[metadata_start:contents_start] if metadata else b""
        if metadata and flags & METADATA_APART:
            metadata_part = apart(view, PageKind.METADATA, row, metadata_part, metadata_length)
        has_contents = flags & (HAS_TEXT | HAS_BYTES)
        contents_part = data[contents_start:end] if contents and has_contents else None
        if contents_part is not None and flags & CONTENTS_APART:
            contents_part = apart(view, PageKind.CONTENTS, row, contents_part, contents_length)
        return Payload(metadata_part, contents_part, bool(flags & HAS_TEXT))


def apart(view: ReadView, kind: PageKind, row: int, tag: bytes, length: int) -> bytes:
    """A part that stands on a page of its own. Raises `IntegrityError`."""
    plaintext = view.open_bound(kind, row, tag)
    if length > len(plaintext):
        message = "shorter than its record says"
        raise IntegrityError(message, kind=kind.name, number=row)
    return plaintext[:length]
