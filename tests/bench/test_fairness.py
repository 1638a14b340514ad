"""What makes comparisons fair: efforts, turns, and telling who is missing."""

import itertools
import sys

import compare
import numpy as np
import pytest
from effort import EFFORTS, MOST, Recalls
from rivals import installed
from table import ratio, spread
from timing import FIRST, TURN, alternately, batches_in_turns, in_turns
from writes import summary


class Fake:
    """Finds as much of the truth as its effort says; `recall` then gives that back."""

    key = "fake"

    def __init__(self, limit=1.0):
        self.limit = limit
        self.asked = []

    def set_effort(self, ef):
        self.ef = ef

    def rows(self, queries):
        self.asked.append(self.ef)
        return min(self.limit, self.ef / 1000)

    def one(self, query):
        return query

    many = one


class Given:
    queries = asked = np.zeros((3, 2))

    def recall(self, found):
        return found


def test_efforts_are_dense():
    """No effort that is tried is more than about 5 % above the one before, or plus one."""
    for low, high in itertools.pairwise(EFFORTS):
        assert low < high <= max(low + 1, low * 1.08)
    assert EFFORTS[-1] == MOST


@pytest.mark.parametrize("wanted", [0.01, 0.5, 0.95, 0.99, 1.0])
def test_the_least_effort_is_found(wanted):
    """The effort that is chosen reaches the recall, and the one below it does not."""
    fake, recalls = Fake(), Recalls(Given())
    ef = recalls.least(fake, wanted)
    assert recalls.at(fake, ef) >= wanted
    assert ef == EFFORTS[0] or recalls.at(fake, EFFORTS[EFFORTS.index(ef) - 1]) < wanted
    assert len(fake.asked) == len(set(fake.asked))


def test_a_recall_out_of_reach_is_told():
    """Who does not reach a recall with any effort has no effort and no times, only what he reached."""
    figures = compare.at_level(0.95, [Fake(limit=0.9)], Given(), Recalls(Given()), 1)
    assert figures == {"fake": {"ef": None, "recall": 0.9, "us": None}}


def test_all_take_turns_with_the_same_queries():
    """In each round every contender is asked the same queries, in an order that changes."""
    log = []
    queries = np.arange(2 * TURN)[:, None]
    calls = {name: (lambda q, name=name: log.append((name, q[0])), queries) for name in "ab"}
    figures = in_turns(calls, 2)
    # The second round begins with the one that the first has ended with.
    assert [name for name, _ in itertools.groupby(log, lambda each: each[0])] == ["a", "b", "a"]
    assert {q for name, q in log if name == "a"} == {q for name, q in log if name == "b"}
    for each in figures.values():
        assert len(each["rounds_us"]) == 2
        assert 0 < each["us"] <= each["p95_us"]
        assert each["mean_us"] > 0


def test_calls_alternate():
    """Each is asked a query before the next one is, and who is first changes from pass to pass."""
    log = []
    calls = {name: (lambda q, name=name: log.append((name, q[0]))) for name in "ab"}
    times = alternately(calls, np.arange(7)[:, None], 2)
    # Ahead of that each has been asked a few for which nothing counts.
    first = [(name, place) for place in range(7) for name in "ab"]
    second = [(name, place) for place in range(7) for name in "ba"]
    assert log[2 * FIRST :] == first + second
    assert all(each.shape == (2, 7) and (each > 0).all() for each in times.values())


def test_batches_are_timed_in_turns():
    """In each round every contender is asked all its queries at once."""
    log = []
    calls = {
        name: (lambda queries, name=name: log.append((name, len(queries))), [1, 2]) for name in "ab"
    }
    assert set(batches_in_turns(calls, 2)) == {"a", "b"}
    assert log == [("a", 2), ("b", 2)] * 2


def test_rivals_that_are_not_installed_are_told(monkeypatch):
    """A rival whose package is missing is left out and named."""
    for module in ("usearch", "usearch.index", "faiss"):
        monkeypatch.setitem(sys.modules, module, None)
    rivals, missing = installed(4, "euclidean")
    assert [rival.key for rival in rivals] == ["hnswlib"]
    assert missing == ["usearch", "faiss-cpu"]


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [(2.0, 1.0, "2.00"), (1.0, 4.0, "0.25"), (1.0, 25.0, "1/25.0"), (1.0, None, ""), (None, 1, "")],
)
def test_ratios(ours, theirs, shown):
    """Ratios are of ours to theirs, as a fraction where they are small, and blank without both."""
    assert ratio(ours, theirs) == shown


def test_a_phase_without_queries():
    """A phase that was over before a query began has no times, and says so."""
    assert spread(summary([])) == "none was asked"
    assert spread(summary([1000.0, 2000.0, 3000.0])) == "2.00 / 2.98 / 3.00 ms"
