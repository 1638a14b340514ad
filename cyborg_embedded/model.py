"""Limits and frozen values that every layer shares. No behaviour beyond their own validity."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

__all__ = [
    "DEFAULT_PAGE_SIZE",
    "FORMAT_VERSION",
    "INDEXING_MODES",
    "KEY_BYTES",
    "MAX_CONTENTS_BYTES",
    "MAX_DIMENSION",
    "MAX_FIELD",
    "MAX_HIDDEN",
    "MAX_ID_BYTES",
    "MAX_METADATA_BYTES",
    "MAX_METADATA_DEPTH",
    "MAX_PAGE_SIZE",
    "MAX_ROWS",
    "METRICS",
    "MIN_PAGE_SIZE",
    "PRECISIONS",
    "IndexingMode",
    "Metric",
    "PageKind",
    "Precision",
]

FORMAT_VERSION = 1

KEY_BYTES = 32
MAX_ID_BYTES = 1024
MAX_METADATA_BYTES = 1 << 20
MAX_METADATA_DEPTH = 32
MAX_CONTENTS_BYTES = 64 << 20
MAX_FIELD = 1024
MAX_HIDDEN = 256
"""Characters of the name of a field in a metadata_schema, and fields that it may hide."""
MAX_DIMENSION = 16_384
MAX_ROWS = 1 << 31
"""Rows ever appended to one index (deleted ones included until compaction)."""

DEFAULT_PAGE_SIZE = 32_768 - 16
"""Bytes of a large sealed page: eight 4 KiB pages of LMDB less its 16-byte overflow header."""
MIN_PAGE_SIZE = 256
MAX_PAGE_SIZE = 1 << 20

Metric = Literal["euclidean", "squared_euclidean", "cosine", "inner_product"]
METRICS: tuple[Metric, ...] = get_args(Metric)

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

IndexingMode = Literal["background", "inline", "manual"]
INDEXING_MODES: tuple[IndexingMode, ...] = get_args(IndexingMode)


class PageKind(IntEnum):
    """The kinds of sealed pages. The number is the first byte of a page's LMDB key and part of
    its AAD; it never changes its meaning. Gaps belong to kinds that later versions add."""

    ROOT = 1
    TABLE = 2
    VECTORS = 3
    ITEMS = 4
    CONTENTS = 5
    METADATA = 6
    IDS = 7
    TOMBSTONES = 8
    NAVIGATION = 9
    GRAPH = 10
    PROJECTION = 11
    ITEM_IDS = 12
    COLUMNS = 13
