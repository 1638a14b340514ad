"""Graph pages: the links of an HNSW graph, without vectors.

The saved graph is one byte string over the GRAPH pages (blobs.py). Little-endian:

    head     version (u32) = 1 ‖ nodes n (u32) ‖ M (u32) ‖ ef_construction (u32)
             ‖ highest level (u32) ‖ entry node (u32)
    rows     n × u32      the row of each node, all different
    levels   n × u8       each node's level, then zeros up to a multiple of 4
    level 0  n × (1 + 2M) × u32     number of links, the links (nodes), zeros
    upper    for each node in order, for each of its levels from 1 up:
             (1 + M) × u32          number of links, the links, zeros

What it walks on is not in it (navigation.py). A graph is derived state: it names rows and no more,
and can always be rebuilt. hnswlib believes whatever it is given (a wrong link is
a wild pointer), so `decode` checks every number, although the pages were authenticated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.errors import IntegrityError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["Links", "decode", "encode", "level_of_lists"]

VERSION = 1
HEAD = struct.Struct("<6I")


@dataclass(frozen=True, slots=True)
class Links:
    """A graph without its vectors, its nodes numbered 0 to n - 1."""

    m: int
    ef_construction: int
    max_level: int
    entry: int
    rows: NDArray[np.uint32]
    levels: NDArray[np.uint8]
    level0: NDArray[np.uint32]
    upper: NDArray[np.uint32]


def encode(links: Links) -> bytes:
    """The byte string of a graph."""
    n = len(links.rows)
    head = HEAD.pack(VERSION, n, links.m, links.ef_construction, links.max_level, links.entry)
    parts = (
        head,
        links.rows.astype("<u4").tobytes(),
        links.levels.tobytes(),
        bytes(-n % 4),
        links.level0.astype("<u4").tobytes(),
        links.upper.astype("<u4").tobytes(),
    )
    return b"".join(parts)


def decode(data: Buffer, rows: int) -> Links:
    """The graph in `data`, over an index of `rows` rows. Raises `IntegrityError` for any number
    that hnswlib must not see."""
    data = memoryview(data)
    check(len(data) >= HEAD.size)
    version, n, m, ef_construction, max_level, entry = HEAD.unpack_from(data)
    check(version == VERSION and 2 <= m <= 256 and m <= ef_construction <= 1 << 16)
    check(0 < n <= rows and entry < n and max_level < 256)
    at = HEAD.size
    level0_at = at + 4 * n + n + (-n % 4)
    upper_at = level0_at + 4 * n * (1 + 2 * m)
    check(len(data) >= upper_at)
    node_rows = np.frombuffer(data, "<u4", n, at)
    levels = np.frombuffer(data, np.uint8, n, at + 4 * n)
    level0 = np.frombuffer(data, "<u4", n * (1 + 2 * m), level0_at).reshape(n, 1 + 2 * m)
    lists = int(levels.sum(dtype=np.int64))
    check(len(data) == upper_at + 4 * lists * (1 + m))
    upper = np.frombuffer(data, "<u4", lists * (1 + m), upper_at).reshape(lists, 1 + m)
    check(int(node_rows.max()) < rows)
    named = np.zeros(rows, np.bool_)
    named[node_rows] = True
    check(np.count_nonzero(named) == n)
    check(int(levels.max()) == max_level == int(levels[entry]))
    check(int(level0[:, 0].max()) <= 2 * m)
    # All at once takes a fifth of the time, and says it wherever counts are small beside n.
    check(int(level0.max()) < n or int(level0[:, 1:].max()) < n)
    check(bool((upper[:, 0] <= m).all() and (upper[:, 1:] < n).all()))
    # A link at a level must lead to a node that has that level: hnswlib does not ask.
    level_of_list = level_of_lists(levels)
    used = np.arange(m) < upper[:, :1]
    check(bool((levels[upper[:, 1:]] >= level_of_list[:, None])[used].all()))
    return Links(m, ef_construction, max_level, entry, node_rows, levels, level0, upper)


def check(sound: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `IntegrityError` unless `sound`."""
    if not sound:
        message = "malformed"
        raise IntegrityError(message, kind="GRAPH", number=0)


def level_of_lists(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The level (1, 2, ...) of each upper list, in the order in which they are stored."""
    counts = levels[levels > 0].astype(np.int64)
    starts = np.cumsum(counts) - counts
    level: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts) + 1
    return level
