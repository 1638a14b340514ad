"""The HNSW graph over points: the only module that imports hnswlib.

What the points are (vectors, or their projections) is not known here.

hnswlib takes and gives its state as numpy arrays, so nothing passes through a file. What it is
given was authenticated and checked before (links.py).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import hnswlib
import numpy as np

from cyborg_embedded.blobs import new_memory
from cyborg_embedded.links import Links, level_of_lists

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Points = NDArray[np.float32]
    Space = Literal["l2", "ip"]
    Memory = Callable[[int], NDArray[np.uint8]]
    PointBlocks = Callable[[Rows], Points]
    Write = Callable[[Points], object]
    PointStream = Callable[[Callable[[int, int, Write], None]], None]

__all__ = ["Graph"]

M = 16
EF_CONSTRUCTION = 200
BLOCK_ROWS = 8192
COUNT_BITS = np.uint32(0xFFFF)
"""hnswlib keeps its mark of a deleted node in the high half of a level-0 count."""


class Graph:
    """An HNSW graph over the points of some rows, for all threads of a handle.

    Rows are only ever added to a copy. Burying a row sets one byte that searches read, so the two
    may overlap: a search then may or may not return the row, and `hidden` tells which it may miss.
    """

    def __init__(self, index: hnswlib.Index, rows: Rows, covered: int) -> None:
        self._index = index
        self._rows = np.sort(rows)
        self._buried = np.zeros(len(rows), np.bool_)
        self.buried = 0
        """How many of its rows have been deleted since it was made."""
        self._marking = threading.Lock()
        self.covered = covered
        """Every row below this that was alive when the graph was made is in it."""

    def __len__(self) -> int:
        return len(self._rows)

    @classmethod
    def build(
        cls, rows: Rows, covered: int, points: PointBlocks, dimension: int, space: Space
    ) -> Graph:
        """A new graph over `rows` (at least one). `points` gives the points (n, dimension) of a
        part of them.
        """
        index = hnswlib.Index(space, dimension)
        index.init_index(max_elements=len(rows), M=M, ef_construction=EF_CONSTRUCTION)
        index.set_ef(1)
        add_in_blocks(index, rows, points)
        return cls(index, rows, covered)

    def extended(self, rows: Rows, covered: int, points: PointBlocks) -> Graph:
        """A copy of this graph with more rows. This one stays as it is, and in use."""
        with self._marking:
            state = self._index.__getstate__()[0]
            buried = self._rows[self._buried]
        room = len(self._rows) + len(rows)
        levels = np.zeros(room, np.int32)
        levels[: len(self._rows)] = state["element_levels"][: len(self._rows)]
        # hnswlib starts its level generator anew from the seed on restoring: another seed.
        state.update(max_elements=room, element_levels=levels, seed=covered)
        index = hnswlib.Index(params=state)
        index.set_ef(1)
        del state
        add_in_blocks(index, rows, points)
        graph = Graph(index, np.concatenate((self._rows, rows)), covered)
        # Marks came along with the copy.
        graph._buried[np.searchsorted(graph._rows, buried)] = True
        graph.buried = len(buried)
        return graph

    def bury(self, alive: NDArray[np.bool_]) -> None:
        """Never return rows again that are not `alive` (indexed by row)."""
        with self._marking:
            dead = ~alive[self._rows]
            for place in np.flatnonzero(dead & ~self._buried).tolist():
                # Noted before it is marked, so that `hidden`, asked after a search, names it.
                self._buried[place] = True
                self.buried += 1
                self._index.mark_deleted(int(self._rows[place]))

    def hidden(self, alive: NDArray[np.bool_]) -> Rows:
        """Rows that are no longer returned although they are `alive` to the one who asks."""
        buried = self._rows[self._buried]
        return buried[alive[buried]]

    def search(self, queries: Points, beam: int) -> tuple[Rows, Points] | None:
        """What a walk with a beam of this width ends with: rows and their distances in hnswlib's
        terms, both (m, min(beam, live rows)), nearest first.

        None where the graph does not lead to as many rows; the caller then searches exactly. Works
        on the calling thread alone, without the GIL.
        """
        wanted = min(beam, len(self._rows) - self.buried)
        if not wanted:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        try:
            # hnswlib's beam is the larger of ef, which is 1 here, and the number of rows asked
            # for: so each query has its own, and nothing is set that another thread would see.
            labels, distances = self._index.knn_query(queries, wanted, num_threads=1)
        except RuntimeError:
            # It raises where it finds fewer.
            return None
        return labels.view(np.int64), distances

    def links(self) -> Links:
        """What of the graph is to be saved: nodes renumbered in the order of their rows."""
        state = self._index.__getstate__()[0]
        n, m = len(self._rows), int(state["M"])
        size, label_at = int(state["size_data_per_element"]), int(state["label_offset"])
        table = state["data_level0"].view(np.uint8).reshape(n, size)
        order = np.argsort(np.ascontiguousarray(table[:, label_at:]).view(np.uint64).ravel())
        new_number = np.empty(n, np.uint32)
        new_number[order] = np.arange(n, dtype=np.uint32)
        level0 = np.ascontiguousarray(table[:, : 4 * (1 + 2 * m)]).view(np.uint32)[order]
        old_levels = state["element_levels"][:n].astype(np.int64)
        starts = np.cumsum(old_levels) - old_levels
        lists = state["link_lists"].view(np.uint32).reshape(-1, 1 + m)
        levels = old_levels[order]
        first = np.repeat(starts[order], levels)
        upper = lists[first + level_of_lists(levels.astype(np.uint8)) - 1] if len(lists) else lists
        return Links(
            m,
            int(state["ef_construction"]),
            int(state["max_level"]),
            int(new_number[int(state["enterpoint_node"])]),
            self._rows.astype(np.uint32),
            levels.astype(np.uint8),
            renumbered(level0, new_number),
            renumbered(upper, new_number),
        )

    @classmethod
    def restore(
        cls,
        links: Links,
        covered: int,
        stream: PointStream,
        dimension: int,
        space: Space,
        memory: Memory = new_memory,
    ) -> Graph:
        """The graph of checked `links`. `stream` hands over all points, a run of rows at a time,
        on any thread: a first row, how many, and what writes their points (n, dimension) to where
        they belong. `memory` gives bytes to work in, until this returns.
        """
        n, m = len(links.rows), links.m
        rows = links.rows.astype(np.int64)
        links_bytes, point_bytes = 4 * (1 + 2 * m), 4 * dimension
        size = links_bytes + point_bytes + 8
        table = memory(n * size).reshape(n, size)
        level0 = np.ascontiguousarray(links.level0).view(np.uint8)
        labels = rows.view(np.uint8).reshape(n, 8)
        floats = table[:, links_bytes : links_bytes + point_bytes].view(np.float32)

        def take(first: int, count: int, write: Write) -> None:
            # All of a row at once: memory is touched for the first time here, by all threads.
            low, high = np.searchsorted(rows, (first, first + count))
            table[low:high, :links_bytes] = level0[low:high]
            table[low:high, links_bytes + point_bytes :] = labels[low:high]
            if high - low == count:
                write(floats[low:high])
            else:
                points = np.empty((count, dimension), np.float32)
                write(points)
                floats[low:high] = points[rows[low:high] - first]

        stream(take)
        state = {
            "ser_version": 1,
            "space": space,
            "dim": dimension,
            "index_inited": True,
            "ep_added": True,
            "normalize": False,
            "num_threads": 1,
            "seed": covered,
            "offset_level0": 0,
            "max_elements": n,
            "cur_element_count": n,
            "size_data_per_element": size,
            "label_offset": links_bytes + point_bytes,
            "offset_data": links_bytes,
            "max_level": links.max_level,
            "enterpoint_node": links.entry,
            "max_M": m,
            "max_M0": 2 * m,
            "M": m,
            "mult": 1 / np.log(1.0 * m),
            "ef_construction": links.ef_construction,
            "ef": 1,
            "has_deletions": False,
            "size_links_per_element": 4 * (1 + m),
            "allow_replace_deleted": False,
            "label_lookup_external": rows.astype(np.uint64),
            "label_lookup_internal": np.arange(n, dtype=np.uint32),
            "element_levels": links.levels.astype(np.int32),
            "data_level0": table.reshape(-1).view(np.int8),
            "link_lists": np.ascontiguousarray(links.upper).reshape(-1).view(np.int8),
        }
        return cls(hnswlib.Index(params=state), rows, covered)


def renumbered(lists: NDArray[np.uint32], new_number: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Link lists with nodes renumbered, hnswlib's marks cleared, and unused places zero."""
    counts = lists[:, :1] & COUNT_BITS
    used = np.arange(lists.shape[1] - 1) < counts
    links = np.where(used, new_number[np.where(used, lists[:, 1:], 0)], 0)
    return np.concatenate((counts, links), axis=1).astype(np.uint32)


def add_in_blocks(index: hnswlib.Index, rows: Rows, points: PointBlocks) -> None:
    """Add rows a block at a time, on all cores."""
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        index.add_items(points(block), block)
