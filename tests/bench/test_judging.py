"""What answers of queries with filters are worth, and which filters there are."""

import data
import numpy as np
import pytest
from filter_sets import TYPICAL, WORDNET, Filter, filters_of
from filter_table import query
from filters import judged

N, K = 300, 10
RANDOM = np.random.default_rng(6)
GIVEN = data.with_items("some", *RANDOM.standard_normal((2, N, 8)).astype(np.float32))
GIVEN.queries = GIVEN.queries[:5]
ODD = Filter(50, {"made": "up"}, lambda m: m["row"] % 2 == 1)
ROWS = np.arange(1, N, 2)
COUNT = len(ROWS)


class Fake:
    """Answers with the nearest of some rows, after `change` has had its way with them."""

    def __init__(self, rows=ROWS, matching=COUNT, change=lambda near: near[:K]):
        self.rows, self.matching, self.change = rows, matching, change

    def query(self, vector, *, top_k, filters, explain):
        assert (top_k, filters, explain) == (K, ODD.filters, True)
        distances = ((GIVEN.vectors[self.rows] - vector) ** 2).sum(axis=1)
        near = self.rows[np.argsort(distances)]
        plan = {"strategy": "rows", "matching": self.matching, "short": 0}
        return [{"id": GIVEN.ids[row]} for row in self.change(near)], plan


@pytest.mark.parametrize(
    ("fake", "complete", "recall"),
    [
        (Fake(), True, 1.0),
        (Fake(change=lambda near: near[:9]), False, 0.9),
        (Fake(change=lambda near: near[:11]), False, 1.0),
        (Fake(change=lambda near: [*near[:9], near[0]]), False, 1.0),
        (Fake(change=lambda near: [*near[:9], near[-1]]), True, 0.9),
        (Fake(change=lambda near: [*near[:9], 0]), False, None),
        (Fake(rows=np.arange(N)), False, None),
        (Fake(matching=N), False, 1.0),
    ],
)
def test_answers_are_compared_with_the_truth(fake, complete, recall):
    """Too few, too many, the same twice, and items that do not satisfy the filter are told, and
    so is a wrong count; items that are too far away cost recall.
    """
    figures = judged(fake, GIVEN, ODD)
    assert figures["matching"] == COUNT
    assert figures["complete"] == complete
    assert recall is None or figures["recall"] == pytest.approx(recall)
    assert figures["strategies"] == {"rows": 5}


def test_fewer_items_than_asked_for():
    """Where fewer items satisfy the filter all of them are to be found, and of none there is no
    recall.
    """
    for rows in (np.array([4, 7, 8]), np.array([], int)):
        some = ODD._replace(where=lambda m, rows=rows: m["row"] in rows)
        figures = judged(Fake(rows, len(rows)), GIVEN, some)
        assert figures["complete"]
        assert figures["recall"] == (1.0 if len(rows) else None)
        line = query({**figures, "filters": {}, "us": 1.0, "plain_us": 2.0}, N)
        assert line[-3:] == ("1.0000" if len(rows) else "", "always", "rows")


def test_filters_are_as_selective_as_they_say():
    """Filters of made-up metadata are satisfied by about as many items as they say."""
    vectors = np.zeros((20_000, 1), np.float32)
    given = data.with_items("many", vectors, vectors[:1])
    chosen = filters_of(given)
    for each in chosen.filters:
        share = 100 * sum(map(each.where, given.metadata)) / len(vectors)
        assert share == pytest.approx(each.percent, rel=0.05)
    for filters in (chosen, WORDNET):
        assert [each.percent for each in filters.one_of_each] == [70, 28, TYPICAL, 3, 0.3, 0.05]
        assert filters.number in filters.typical.filters
