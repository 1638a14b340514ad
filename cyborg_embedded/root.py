"""The root record and the page table: what the one commit that a reader looks at consists of.

The page table of a kind is the concatenation of the 16-byte tags of its pages, in page order, cut
into chunks that are sealed pages themselves; the root holds the tags of the chunks. So the root's
tag stands for every byte of the commit, as the root hash of a Merkle tree does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from cyborg_embedded.aead import OVERHEAD, TAG_BYTES
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import (
    MAX_DIMENSION,
    MAX_FIELD,
    MAX_HIDDEN,
    MAX_ROWS,
    Metric,
    PageKind,
    Precision,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cyborg_embedded.header import Header

__all__ = [
    "TABLED",
    "ColumnsRecord",
    "GraphRecord",
    "IdRecord",
    "Root",
    "Snapshot",
    "TableRecord",
    "changed_pages",
    "decode_root",
    "encode_root",
]

TABLED = (
    PageKind.VECTORS,
    PageKind.ITEMS,
    PageKind.IDS,
    PageKind.TOMBSTONES,
    PageKind.NAVIGATION,
    PageKind.GRAPH,
    PageKind.PROJECTION,
    PageKind.ITEM_IDS,
    PageKind.COLUMNS,
)
"""The kinds that the page table lists. CONTENTS and METADATA pages are bound by their tag in the
item record instead, TABLE pages by the root, and the ROOT by nothing but the key."""

Count = Annotated[int, Meta(ge=0, le=1 << 48)]
Rows = Annotated[int, Meta(ge=0, le=MAX_ROWS)]
Field = Annotated[str, Meta(min_length=1, max_length=MAX_FIELD)]
TenThousandths = Annotated[int, Meta(ge=0, le=10_000)]


class TableRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page table of one kind: how many pages, and the tags of the table's chunks."""

    pages: Count = 0
    chunks: bytes = b""


class GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the saved graph covers: every live row below `rows` is in it.

    `dimensions` is that of the projection, of which the first `walked` do for a walk; both are 0
    where it walks the vectors themselves. `efforts` are widths of walks and the recall that they
    reach; `far` is beyond what squared distance a query is walked again, in all components and in
    those that do (effort.py).
    """

    rows: Rows
    bytes: Count
    dimensions: Annotated[int, Meta(ge=0, le=MAX_DIMENSION)] = 0
    walked: Annotated[int, Meta(ge=0, le=MAX_DIMENSION)] = 0
    efforts: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=1, le=1 << 20)], TenThousandths], ...],
        Meta(max_length=64),
    ] = ()
    far: Annotated[tuple[Annotated[float, Meta(ge=0)], ...], Meta(max_length=2)] = ()


class IdRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many id entries there are, and how many of the first are sorted."""

    entries: Count = 0
    sorted: Count = 0


class ColumnsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The saved columns: how many bytes they are."""

    bytes: Count


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root record, a MessagePack map with these names."""

    sequence: Count
    metric: Metric
    dimension: Annotated[int, Meta(ge=0, le=MAX_DIMENSION)]
    rows: Rows = 0
    live: Rows = 0
    ids: IdRecord = IdRecord()
    tables: dict[PageKind, TableRecord] = {}
    graph: GraphRecord | None = None
    precision: Precision = "float32"
    navigator_dimensions: Annotated[int, Meta(ge=0, le=MAX_DIMENSION)] = 0
    """What the graph is to be walked in; 0 for what measuring finds best."""
    columns: ColumnsRecord | None = None
    hidden: Annotated[tuple[Field, ...], Meta(max_length=MAX_HIDDEN)] = ()
    """Fields that are not to be filtered by, in ascending order."""

    def table(self, kind: PageKind) -> TableRecord:
        """The table of a kind, empty if the kind has no pages."""
        return self.tables.get(kind, EMPTY_TABLE)


EMPTY_TABLE = TableRecord()


def is_ascending(pairs: tuple[tuple[int, int], ...]) -> bool:
    """Whether first numbers grow from pair to pair, and second ones do not shrink."""
    return all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(pairs))


def is_measured(record: GraphRecord) -> bool:
    """Whether what was measured of walks fits together."""
    of_each = 2 if record.dimensions else 1
    return is_ascending(record.efforts) and len(record.far) in (0, of_each)


encoder = msgspec.msgpack.Encoder()
decoder = msgspec.msgpack.Decoder(Root)


def encode_root(root: Root) -> bytes:
    """The root as MessagePack."""
    return encoder.encode(root)


def decode_root(data: bytes, page_size: int) -> Root:
    """The root in an authenticated plaintext. Raises `IntegrityError` if it contradicts itself."""
    try:
        root = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        message = "malformed"
        raise IntegrityError(message, kind="ROOT", number=0) from error
    per_chunk = tags_per_chunk(page_size)
    for kind, table in root.tables.items():
        chunks = -(-table.pages // per_chunk)
        if kind not in TABLED or len(table.chunks) != chunks * TAG_BYTES:
            message = "the page table contradicts itself"
            raise IntegrityError(message, kind="ROOT", number=0)
    if (
        root.ids.sorted > root.ids.entries
        or root.live > root.rows
        or (root.rows and not root.dimension)
        or (root.graph is not None and root.graph.rows > root.rows)
        or (root.graph is not None and not is_measured(root.graph))
        or list(root.hidden) != sorted(set(root.hidden))
    ):
        message = "the fields contradict each other"
        raise IntegrityError(message, kind="ROOT", number=0)
    return root


def tags_per_chunk(page_size: int) -> int:
    """How many tags one sealed page of the page table holds."""
    return (page_size - OVERHEAD) // TAG_BYTES


def chunk_number(kind: PageKind, chunk: int) -> int:
    """The page number of a chunk of the page table of `kind`."""
    return (kind << 48) | chunk


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit, as a reader holds it: immutable, shared by threads."""

    txn_id: int
    root: Root
    root_tag: bytes
    tags: Mapping[PageKind, bytes]
    header: Header

    def pages(self, kind: PageKind) -> int:
        """How many pages of a kind there are."""
        return self.root.table(kind).pages

    def tag(self, kind: PageKind, number: int) -> bytes:
        """The expected tag of a page. Raises `IntegrityError` for a page that is not there."""
        tag = self.tags.get(kind, b"")[number * TAG_BYTES : (number + 1) * TAG_BYTES]
        if len(tag) != TAG_BYTES:
            message = "not in the page table"
            raise IntegrityError(message, kind=kind.name, number=number)
        return tag

    def tags_of(self, kind: PageKind, pages: list[int]) -> list[bytes]:
        """`tag` of several pages."""
        tags, size = self.tags.get(kind, b""), TAG_BYTES
        if pages and not 0 <= min(pages) <= max(pages) < len(tags) // size:
            return [self.tag(kind, number) for number in pages]
        return [tags[number * size : number * size + size] for number in pages]

    def changed(self, older: Snapshot | None, kind: PageKind) -> list[int]:
        """The pages of a kind that differ from those of `older`, in order; those gone included."""
        return changed_pages(
            self.tags.get(kind, b""), b"" if older is None else older.tags.get(kind, b"")
        )


def changed_pages(new: bytes, old: bytes) -> list[int]:
    """The pages whose tags differ, in order; those gone included."""
    if new == old:
        return []
    shared = min(len(new), len(old))
    longest = max(len(new), len(old))
    halves = (
        np.frombuffer(new[:shared], np.uint64) != np.frombuffer(old[:shared], np.uint64)
    ).reshape(-1, 2)
    pages: list[int] = np.flatnonzero(halves.any(axis=1)).tolist()
    pages.extend(range(shared // TAG_BYTES, longest // TAG_BYTES))
    return pages
