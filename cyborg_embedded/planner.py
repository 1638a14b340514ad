"""How to find the nearest of the rows that a filter means: the cheapest way that finds them.

    rows    measure each
    codes   measure those that short codes of each (coarse.py) say are near
    graph   walk the graph, with a beam that is wider the fewer rows are meant

What each is expected to cost is linear in what it touches. The constants were measured with
bench/run.py on a processor with AVX-512; what matters is their ratio, which machines share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cyborg_embedded.effort import WIDER, effort_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cyborg_embedded.effort import Efforts

    Strategy = Literal["none", "scan", "rows", "codes", "graph"]

__all__ = ["Case", "Choice", "choose", "coarse_count"]

CALL = 40.0
"""Microseconds that any of them takes beside what follows."""
ROW_FLOAT = 0.00043
"""To fetch and measure one row, for each of its numbers."""
ROW_COLD = 9.0
"""To open the page of a row."""
PRODUCT = 0.00004
"""For each number of a row and each further query."""
CODE, CODE_SORTED = 0.00022, 0.006
"""To compare a code, for each component; to sort its distance."""
SECOND = 0.5
"""The share of components that are compared in the end: all of them only for a quarter of rows."""
CODES_LOADED = 0.5
"""To make short codes, for each row."""
STEP_FLOAT, STEP = 0.0035, 0.25
"""A walk, for each unit of its width: for each component, and beside that."""
GRAPH_LOADED = 1.6
"""To restore the graph, for each row."""
WIDTH, WIDEST = 176, 1024
"""The width of a walk that loses nothing worth mentioning where every row is meant; and the widest:
rows that are far from where a query looks are not found by any."""
FEWEST_SHARE = 0.5
"""Of the rows, that a walk is meant for: a query is often unlike the few that a filter leaves."""
COARSE_BASE, COARSE_ROOT = 4, 0.5
"""Of n rows that codes tell apart, this many times k and root n are measured."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is known before a search: `k` of `matching` rows among `live`, of `dimension` numbers,
    for so many `queries`. `walked` components are in the graph, 0 for no graph; `coded` are in the
    short codes, 0 for none. `codes_ready` and `graph_ready` say what is in memory, and
    `cold` which share of the vectors is not.
    """

    k: int
    matching: int
    live: int
    rows: int
    dimension: int
    queries: int
    threads: int
    coded: int
    walked: int
    codes_ready: bool
    graph_ready: bool
    cold: float = 0.0
    efforts: Efforts = ()
    again: bool = False
    """Whether these are of walks that were followed by wider ones for what was far."""
    ef: int | None = None
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The way that was chosen, and why; what each was expected to cost, in microseconds, and what
    is lost because a better one is not ready; the width of the walk, and how many rows of those
    that codes tell apart are measured.
    """

    strategy: Strategy
    reason: str
    costs: Mapping[Strategy, float]
    lost: Mapping[Strategy, float]
    width: int
    count: int


def choose(case: Case, spared: Mapping[str, float]) -> Choice:
    """The cheapest way.

    `spared` is what each way would have spared so far, in microseconds, had it been ready: as much
    as that is no loss if something has to be loaded for it first. So what is loaded never costs
    more than twice what it would have with foresight.
    """
    count, width = coarse_count(case), graph_width(case)
    if case.recall == 1:
        return Choice("rows", "recall=1 asks for exact distances", {}, {}, width, count)
    costs: dict[Strategy, float] = {"rows": rows_cost(case)}
    loads: dict[Strategy, float] = {}
    if case.coded:
        costs["codes"] = codes_cost(case, count)
        loads["codes"] = 0.0 if case.codes_ready else CODES_LOADED * case.rows
    share = case.matching / max(1, case.live)
    if case.walked and (case.ef is not None or (share >= FEWEST_SHARE and width <= WIDEST)):
        costs["graph"] = graph_cost(case, width)
        loads["graph"] = 0.0 if case.graph_ready else GRAPH_LOADED * case.rows
    if case.ef is not None and case.walked:
        return Choice("graph", "ef asks for a walk through the graph", costs, {}, width, count)
    still = {way: max(0.0, cost - spared.get(way, 0.0)) for way, cost in loads.items()}
    best = min(costs, key=lambda way: costs[way] + still.get(way, 0.0))
    lost = {
        way: costs[best] - costs[way] for way in loads if loads[way] and costs[way] < costs[best]
    }
    reason = f"{best} is expected to take the least time for {case.matching} of {case.live} items"
    return Choice(best, reason, costs, lost, width, count)


def rows_cost(case: Case) -> float:
    """Each row is fetched once, whatever the number of queries."""
    once = row_cost(case) * case.matching
    return CALL + once + PRODUCT * case.dimension * case.matching * (case.queries - 1)


def row_cost(case: Case) -> float:
    """To fetch and measure one row, wherever it is."""
    return ROW_FLOAT * case.dimension + ROW_COLD * case.cold


def codes_cost(case: Case, count: int) -> float:
    """Codes are compared in two steps for a single query; for many all of them, fetched once."""
    each = CODE_SORTED * case.matching + row_cost(case) * min(count, case.matching)
    if case.queries == 1:
        return CALL + each + SECOND * CODE * case.coded * case.matching
    each += PRODUCT * case.coded * case.matching
    return CALL + CODE * case.coded * case.matching + case.queries * each


def graph_cost(case: Case, width: int) -> float:
    """Each query walks; many do so on all threads."""
    walks = case.queries / min(case.queries, case.threads)
    return CALL + walks * width * (STEP + STEP_FLOAT * case.walked)


def graph_width(case: Case) -> int:
    """The width of a walk that meets enough of the rows that are meant."""
    if case.ef is not None:
        return case.ef
    share = max(case.matching, 1) / max(1, case.live)
    width = WIDTH * max(1.0, case.k / 10)
    if case.recall is not None:
        # Nothing is walked again here: all are walked as wide as what is far.
        wider = WIDER if case.again else 1
        width = max(width, wider * (effort_for(case.efforts, case.recall, case.k) or 0))
    return math.ceil(width / share)


def coarse_count(case: Case) -> int:
    """How many of the rows that codes tell apart are measured."""
    wanted = COARSE_BASE * case.k + COARSE_ROOT * math.sqrt(case.matching)
    return math.ceil(wanted * (2 if case.recall is not None and case.recall > 0.98 else 1))
