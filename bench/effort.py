"""Which effort reaches which recall: the only fair base for comparing times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ours import asked_by

if TYPE_CHECKING:
    from data import DataSet
    from rivals import Contender

MOST = 2000


def steps(first: int, last: int, ratio: float) -> list[int]:
    """Whole numbers from `first` to `last`, each the one before times `ratio`, or plus 1."""
    numbers = [first]
    while numbers[-1] < last:
        numbers.append(min(last, max(numbers[-1] + 1, round(numbers[-1] * ratio))))
    return numbers


EFFORTS = steps(10, MOST, 1.05)
"""What is tried: fine enough that nobody does much more than he has to."""
COARSE = steps(10, 700, 1.3)
"""For curves."""


class Recalls:
    """Recall by contender and effort, each measured once, on all queries."""

    def __init__(self, given: DataSet) -> None:
        self._given = given
        self._known: dict[tuple[str, int | None], float] = {}

    def at(self, contender: Contender, ef: int | None) -> float:
        """The contender's recall with this effort, which it is then set to."""
        contender.set_effort(ef)
        place = (contender.key, ef)
        if place not in self._known:
            rows = contender.rows(asked_by(contender, self._given))
            self._known[place] = self._given.recall(rows)
        return self._known[place]

    def best(self, contender: Contender) -> float:
        """The contender's recall with the most effort that is tried."""
        return self.at(contender, MOST)

    def least(self, contender: Contender, wanted: float) -> int | None:
        """An effort that reaches the recall while the step below it does not; None if the most
        effort does not either. Recall grows with effort, so there is only one, but for noise.
        """
        if self.best(contender) < wanted:
            return None
        below, enough = -1, len(EFFORTS) - 1
        while enough - below > 1:
            middle = (below + enough) // 2
            if self.at(contender, EFFORTS[middle]) >= wanted:
                enough = middle
            else:
                below = middle
        return EFFORTS[enough]
