"""The HNSW graph over points: the only module that imports hnswlib.

What the points are (vectors, or their projections) is not known here.

hnswlib takes and gives its state as numpy arrays, so nothing passes through a file. What it is
given was authenticated and checked before (links.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import hnswlib
import numpy as np

from cyborg_embedded.blobs import new_memory
from cyborg_embedded.gate import Gate
from cyborg_embedded.links import Links, level_of_lists

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Points = NDArray[np.float32]
    Space = Literal["l2", "ip"]
    Memory = Callable[[int], NDArray[np.uint8]]
    Write = Callable[[Points], object]
    PointStream = Callable[[Callable[[int, int, Write], None]], None]

__all__ = ["Graph"]

M = 16
EF_CONSTRUCTION = 200
COUNT_BITS = np.uint32(0xFFFF)
"""hnswlib keeps its mark of a deleted node in the high half of a level-0 count."""


class Graph:
    """An HNSW graph over the points of some rows, for all threads of a handle.

    Rows are only ever added, in steps that searches wait for. Rows that have died stay in it: who
    searches leaves them out.
    """

    def __init__(self, index: hnswlib.Index, rows: Rows, covered: int) -> None:
        self._index = index
        self._rows = [rows]
        self._count = len(rows)
        self._room = index.get_max_elements()
        self._gate = Gate()
        self.torn = False
        """Whether adding failed in the middle: it is neither searched nor saved then."""
        self.covered = covered
        """Every row below this that was alive when the graph was made, or grew, is in it."""

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Rows:
        """Its rows, in ascending order."""
        if len(self._rows) > 1:
            self._rows = [np.sort(np.concatenate(self._rows))]
        return self._rows[0]

    @classmethod
    def empty(cls, room: int, dimension: int, space: Space) -> Graph:
        """A graph without rows, with room for some."""
        index = hnswlib.Index(space, dimension)
        index.init_index(max_elements=max(1, room), M=M, ef_construction=EF_CONSTRUCTION)
        index.set_ef(1)
        return cls(index, np.empty(0, np.int64), 0)

    def add(self, rows: Rows, covered: int, points: Points, threads: int) -> None:
        """Add rows that it does not have, and their points (n, dimension).

        One thread at a time. Searches wait meanwhile.
        """
        with self._gate.exclusive():
            wanted = self._count + len(rows)
            if wanted > self._room:
                # A quarter more than needed, so that a growing graph is moved O(log n) times.
                room = wanted + wanted // 4
                self._index.resize_index(room)
                self._room = room
            try:
                if len(rows):
                    self._index.add_items(points, rows, num_threads=threads)
                    self._rows.append(rows)
                self._count, self.covered = wanted, covered
            except BaseException:
                # Nobody knows how many of them are in it.
                self.torn = True
                raise

    def search(self, queries: Points, beam: int) -> tuple[Rows, Points, int] | None:
        """What a walk with a beam of this width ends with: rows and their distances in hnswlib's
        terms, both (m, min(beam, rows)), nearest first; and how far the graph reached then.

        None where the graph does not lead to as many rows; the caller then searches exactly. Works
        on the calling thread alone, without the GIL.
        """
        stay = self._gate.shared()
        try:
            if self.torn:
                return None
            # hnswlib's beam is the larger of ef, which is 1 here, and the number of rows asked
            # for: so each query has its own, and nothing is set that another thread would see.
            labels, distances = self._index.knn_query(
                queries, min(beam, self._count), num_threads=1
            )
        except RuntimeError:
            # It raises where it finds fewer.
            return None
        else:
            return labels.view(np.int64), distances, self.covered
        finally:
            stay.leave()

    def links(self) -> tuple[Links, int]:
        """What of the graph is to be saved, nodes renumbered in the order of their rows; and how
        far it reaches.
        """
        with self._gate.shared():
            state = self._index.__getstate__()[0]
            rows, covered = self.rows, self.covered
        n, m = len(rows), int(state["M"])
        size, label_at = int(state["size_data_per_element"]), int(state["label_offset"])
        table = state["data_level0"].view(np.uint8).reshape(-1, size)[:n]
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
        links = Links(
            m,
            int(state["ef_construction"]),
            int(state["max_level"]),
            int(new_number[int(state["enterpoint_node"])]),
            rows.astype(np.uint32),
            levels.astype(np.uint8),
            renumbered(level0, new_number),
            renumbered(upper, new_number),
        )
        return links, covered

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
        index = hnswlib.Index(params=state)
        return cls(index, rows, covered)


def renumbered(lists: NDArray[np.uint32], new_number: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Link lists with nodes renumbered, hnswlib's marks cleared, and unused places zero."""
    counts = lists[:, :1] & COUNT_BITS
    used = np.arange(lists.shape[1] - 1) < counts
    links = np.where(used, new_number[np.where(used, lists[:, 1:], 0)], 0)
    return np.concatenate((counts, links), axis=1).astype(np.uint32)
