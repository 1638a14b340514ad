"""What is found where a recall is asked for: by rows that were kept out, and by real queries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from common import K
from data import DataSet
from ours import Ours, create, upsert
from timing import in_turns

from cyborg_embedded import Client

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ASKED", "as_markdown", "recalls_asked_for"]

ASKED = (0.90, 0.95, 0.99)
MOST_KEPT, KEPT_SHARE = 1000, 10
"""Rows that are kept out of the index at most, and of how many rows one is."""


class Knob(Ours):
    """An index that is asked for a recall in place of an effort."""

    def __init__(self, index: Any, given: DataSet, wanted: float) -> None:
        super().__init__(str(wanted), index, given)
        self.wanted = wanted
        self.one = partial(index.query, top_k=K, include=["distance"], recall=wanted)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        answers, _ = self.index.query_arrays(queries, top_k=K, recall=self.wanted)
        return self.rows_of(answers)


def recalls_asked_for(given: DataSet, folder: Path, rounds: int) -> list[dict[str, float]]:
    """For each recall that is asked for: the recall of rows that were kept out (`held`), that of
    the real queries (`real`), and the microseconds of a single query of the first kind.
    """
    step = max(KEPT_SHARE, len(given.ids) // MOST_KEPT)
    kept = np.zeros(len(given.ids), np.bool_)
    kept[step // 2 :: step] = True
    others = np.flatnonzero(~kept)
    held = DataSet(
        given.name,
        np.ascontiguousarray(given.vectors[others]),
        np.ascontiguousarray(given.vectors[kept]),
        *([column[row] for row in others] for column in (given.metadata, given.texts, given.ids)),
        metric=given.metric,
    )
    real = replace(held, queries=given.queries)
    client = Client(folder)
    key = client.generate_key()
    with create(client, key, held, indexing="manual") as index:
        upsert(index, held, range(len(held.ids)))
        index.optimize()
        index.warm()
        knobs = [Knob(index, held, wanted) for wanted in ASKED]
        times = in_turns({knob.key: (knob.one, held.queries) for knob in knobs}, rounds)
        return [
            {
                "asked": knob.wanted,
                "held": held.recall(knob.rows(held.queries)),
                "real": real.recall(knob.rows(real.queries)),
                "us": times[knob.key]["us"],
            }
            for knob in knobs
        ]


def as_markdown(figures: list[dict[str, float]]) -> str:
    """A table, with each time beside that of the most that was asked for."""
    lines = [
        "A recall that is asked for, and what is found\n",
        "| asked | rows that were kept out | the real queries | one query, p50 | to the last |",
        "| --- | --- | --- | --- | --- |",
    ]
    most = figures[-1]["us"]
    for each in figures:
        found = f"{each['held']:.4f} | {each['real']:.4f}"
        time = f"{each['us']:,.0f} µs | {each['us'] / most:.2f}"
        lines.append(f"| {each['asked']:.2f} | {found} | {time} |")
    return "\n".join(lines) + "\n"
