"""hnswlib's state: what it is given when a graph is loaded, and what is read out of it.

A dict of numbers and numpy arrays. `data_level0` has for each node its links at level 0 as a count
and 2M places, its point, and its label; `link_lists` the lists of the upper levels, node by node.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyborg_embedded.links import Links

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float32]
    Space = Literal["l2", "ip"]

__all__ = ["links_of", "padded", "state_of", "width_of"]

COUNT_BITS = np.uint32(0xFFFF)
"""hnswlib keeps its mark of a deleted node in the high half of a level-0 count."""
NO_LABEL = np.uint64(2**64 - 1)
NODES_AT_ONCE = 4096
AT_A_STEP = 16
"""Components that hnswlib compares at a step, if there is a multiple of them."""


def state_of(
    links: Links, dimension: int, space: Space, fill: Callable[[Points], object]
) -> dict[str, Any]:
    """The state of the graph of checked `links`; `fill` writes the points of its nodes
    (n, dimension).
    """
    n, m, width = len(links.rows), links.m, width_of(dimension)
    links_bytes, point_bytes = 4 * (1 + 2 * m), 4 * width
    size = links_bytes + point_bytes + 8
    table = np.empty((n, size), np.uint8)
    level0 = np.ascontiguousarray(links.level0).view(np.uint8)
    labels = links.rows.astype(np.uint64).view(np.uint8).reshape(n, 8)

    for first in range(0, n, NODES_AT_ONCE):
        nodes = slice(first, first + NODES_AT_ONCE)
        table[nodes, :links_bytes] = level0[nodes]
        table[nodes, links_bytes + point_bytes :] = labels[nodes]
    points = table[:, links_bytes : links_bytes + point_bytes].view(np.float32)
    points[:, dimension:] = 0
    fill(points[:, :dimension])
    return {
        "ser_version": 1,
        "space": space,
        "dim": width,
        "index_inited": True,
        "ep_added": True,
        "normalize": False,
        "num_threads": 1,
        "seed": n,
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
        "mult": 1 / math.log(m),
        "ef_construction": links.ef_construction,
        "ef": 1,
        "has_deletions": False,
        "size_links_per_element": 4 * (1 + m),
        "allow_replace_deleted": False,
        # A walk takes labels from the nodes. The table that leads back from them is for updates,
        # which there are none of here, and a tenth of the time and memory.
        "label_lookup_external": np.full(n, NO_LABEL),
        "label_lookup_internal": np.zeros(n, np.uint32),
        "element_levels": links.levels.astype(np.int32),
        "data_level0": table.reshape(-1).view(np.int8),
        "link_lists": np.ascontiguousarray(links.upper).reshape(-1).view(np.int8),
    }


def links_of(state: Mapping[str, Any], n: int) -> Links:
    """The links of the first n nodes, as they are saved."""
    m = int(state["M"])
    size, label_at = int(state["size_data_per_element"]), int(state["label_offset"])
    table = state["data_level0"].view(np.uint8).reshape(-1, size)[:n]
    rows = np.ascontiguousarray(table[:, label_at:]).view(np.uint64).ravel()
    level0 = np.ascontiguousarray(table[:, : 4 * (1 + 2 * m)]).view(np.uint32)
    levels = state["element_levels"][:n]
    upper = state["link_lists"].view(np.uint32).reshape(-1, 1 + m)[: int(levels.sum())]
    return Links(
        m,
        int(state["ef_construction"]),
        int(state["max_level"]),
        int(state["enterpoint_node"]),
        rows.astype(np.uint32),
        levels.astype(np.uint8),
        tidied(level0),
        tidied(upper),
    )


def width_of(dimension: int) -> int:
    """How many components hnswlib is given: up to a third more, all zero, where it then compares
    them faster.
    """
    width = -(-dimension // AT_A_STEP) * AT_A_STEP
    return width if 3 * (width - dimension) < dimension else dimension


def padded(points: Points) -> Points:
    """Points (n, dimension) as hnswlib is given them."""
    n, dimension = points.shape
    width = width_of(dimension)
    if width == dimension:
        return points
    wider = np.zeros((n, width), np.float32)
    wider[:, :dimension] = points
    return wider


def tidied(lists: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Link lists without hnswlib's marks, and with zeros in unused places."""
    counts = lists[:, :1] & COUNT_BITS
    used = np.arange(lists.shape[1] - 1) < counts
    return np.concatenate((counts, np.where(used, lists[:, 1:], 0)), axis=1).astype(np.uint32)
