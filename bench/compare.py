"""All contenders at the same recalls, and along their whole curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effort import COARSE, Recalls
from ours import asked_by
from timing import batches_in_turns, in_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data import DataSet
    from rivals import Contender

LEVELS = (0.95, 0.99)
"""Recalls at which all are compared."""
BATCH_ROUNDS = 5
CURVE_ROUNDS = 2
OWN = ("ours", "sealed")
"""Contenders that have a default effort: what it reaches, the others have to reach as well."""


def at_levels(
    contenders: Sequence[Contender], given: DataSet, recalls: Recalls, rounds: int
) -> dict[str, Any]:
    """Figures by level (`default`, then LEVELS) and contender; see `at_level`."""
    figures = {"default": at_level(None, contenders, given, recalls, rounds)}
    for wanted in LEVELS:
        figures[str(wanted)] = at_level(wanted, contenders, given, recalls, rounds)
    return figures


def at_level(
    wanted: float | None,
    contenders: Sequence[Contender],
    given: DataSet,
    recalls: Recalls,
    rounds: int,
) -> dict[str, Any]:
    """By contender: the least effort (`ef`) that reaches a recall, the `recall` that it has, the
    microseconds of a single query (see `in_turns`) and the seconds of all at once (`batch_s`).

    None wants the recall that the library has by default, where a sealed handle may have another.
    Who does not reach it has no times, and the most recall that was seen.
    """
    figures: dict[str, Any] = {}
    able = []
    for contender in contenders:
        default = wanted is None and contender.key in OWN
        if wanted is None and contender.key == "ours":
            level = recalls.at(contender, None)
        elif wanted is not None:
            level = wanted
        ef = None if default else recalls.least(contender, level)
        if default or ef is not None:
            able.append(contender)
            figures[contender.key] = {"ef": ef, "recall": recalls.at(contender, ef)}
        else:
            figures[contender.key] = {"ef": None, "recall": recalls.best(contender), "us": None}
    for contender in able:
        contender.set_effort(figures[contender.key]["ef"])
    singles = {each.key: (each.one, asked_by(each, given)) for each in able}
    batches = {each.key: (each.many, asked_by(each, given)) for each in able}
    for key, times in in_turns(singles, rounds).items():
        figures[key].update(times)
    for key, seconds in batches_in_turns(batches, BATCH_ROUNDS).items():
        figures[key]["batch_s"] = seconds
    return figures


def curves(
    contenders: Sequence[Contender], given: DataSet, recalls: Recalls
) -> dict[str, list[dict[str, float]]]:
    """By contender, its efforts from small to large, each with recall and microseconds."""
    points: dict[str, list[dict[str, float]]] = {each.key: [] for each in contenders}
    for ef in COARSE:
        reached = {each.key: recalls.at(each, ef) for each in contenders}
        calls = {each.key: (each.one, asked_by(each, given)) for each in contenders}
        for key, times in in_turns(calls, CURVE_ROUNDS).items():
            points[key].append({"ef": ef, "recall": reached[key], "us": times["us"]})
    return points
