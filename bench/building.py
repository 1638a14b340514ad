"""What it takes to have all rows in a graph; ours are in the file before that.

The plaintext graph that targets are named by is built anew in each turn, just before ours is: on a
shared machine a build of one minute and one of the next are not to be compared.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from common import say
from ours import INDEX, Ours, create, upsert
from timing import microseconds

if TYPE_CHECKING:
    from data import DataSet
    from effort import Recalls
    from rivals import Rival

    from cyborg_embedded import Client

__all__ = ["build_all"]

TURNS = 3


def build_all(
    rivals: list[Rival], client: Client, key: bytes, given: DataSet, recalls: Recalls
) -> dict[str, Any]:
    """Build the rivals and an index: the seconds that each takes, medians where there are turns
    (`turns_s`), and what queries find before the index has a graph, and after that.

    The first of `rivals`, hnswlib, takes turns: what is built in the last one stands there then.
    """
    built = {rival.key: built_in(rival, given) for rival in rivals[1:]}
    first = rivals[0]
    turns: dict[str, list[float]] = {first.key: [], "upsert": [], "optimize": []}
    figures: dict[str, Any] = {}
    for turn in range(TURNS):
        # In place of the one before, of which nothing is to be left in memory.
        rivals[0] = first = type(rivals[0])(given.vectors.shape[1], given.metric)
        turns[first.key].append(built_in(first, given))
        if turn:
            client.delete_index(INDEX, index_key=key)
        say("upserting ...")
        with create(client, key, given, indexing="manual") as index:
            turns["upsert"].append(upsert(index, given, range(len(given.ids))))
            if turn == TURNS - 1:
                ours = Ours("scan", index, given)
                figures["exact_recall"] = recalls.at(ours, None)
                figures["exact_p50_us"] = float(np.median(microseconds(ours.one, given.queries)))
            say("optimizing ...")
            start = time.perf_counter()
            index.optimize()
            turns["optimize"].append(time.perf_counter() - start)
            if turn == TURNS - 1:
                figures["recall"] = recalls.at(Ours("built", index, given), None)
                figures["file_mb"] = index.describe()["file_bytes"] / 1e6
    built[first.key] = float(np.median(turns[first.key]))
    return figures | {
        "build_s": built,
        "upsert_s": float(np.median(turns["upsert"])),
        "optimize_s": float(np.median(turns["optimize"])),
        "turns_s": turns,
    }


def built_in(rival: Rival, given: DataSet) -> float:
    """Seconds that a rival takes to build its graph."""
    say(f"building {rival.title} ...")
    start = time.perf_counter()
    rival.build(given.points)
    return time.perf_counter() - start
