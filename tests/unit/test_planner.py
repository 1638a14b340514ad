"""The planner: the cheapest way that is there, and no loading that does not pay."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.effort import WIDER
from cyborg_embedded.planner import CODES_LOADED, GRAPH_LOADED, Case, choose, coarse_count


def case(**changes):
    """A hundred thousand rows with a graph and codes in memory, half of them meant."""
    known = {
        "k": 10,
        "matching": 50_000,
        "live": 100_000,
        "rows": 100_000,
        "dimension": 384,
        "queries": 1,
        "threads": 2,
        "coded": 48,
        "walked": 96,
        "codes_ready": True,
        "graph_ready": True,
    }
    return Case(**(known | changes))


def strategy(**changes):
    """What is chosen."""
    return choose(case(**changes), {}).strategy


@pytest.mark.parametrize("matching", [1, 10, 40])
def test_few_rows_are_measured(matching):
    """Where about as few rows are meant as are asked for, each is measured."""
    assert strategy(matching=matching) == "rows"
    assert strategy(matching=matching, queries=100) == "rows"


def test_more_rows_are_told_apart_by_codes():
    """Where a tenth of many rows is meant, codes are compared: a walk would meet few of them."""
    assert strategy(matching=10_000) == "codes"
    assert strategy(matching=10_000, cold=1.0) == "codes"


def test_nearly_all_rows_are_walked():
    """Where nearly every one of many rows is meant, there is a walk."""
    for matching in (900_000, 999_999, 1_000_000):
        assert strategy(matching=matching, live=1_000_000, rows=1_000_000) == "graph"


def test_what_is_not_there_is_not_chosen():
    """Without a graph and codes every row is measured, without codes rows are measured or walked."""
    for matching in (1, 10_000, 100_000):
        assert strategy(matching=matching, coded=0, walked=0) == "rows"
        assert strategy(matching=matching, coded=0, walked=0, ef=100) == "rows"
        assert strategy(matching=matching, coded=0) in {"rows", "graph"}


cases = st.builds(
    case,
    k=st.integers(1, 1000),
    matching=st.integers(1, 100_000),
    dimension=st.integers(1, 4096),
    queries=st.integers(1, 5000),
    threads=st.integers(1, 64),
    coded=st.sampled_from([0, 16, 96, 384]),
    walked=st.sampled_from([0, 16, 96, 384]),
    codes_ready=st.booleans(),
    graph_ready=st.booleans(),
    cold=st.floats(0, 1),
    ef=st.none() | st.integers(1, 10_000),
    recall=st.none() | st.sampled_from([0.5, 0.99, 1]),
    efforts=st.sampled_from([(), ((16, 8000), (64, 9500), (256, 9990))]),
)
ways = st.dictionaries(st.sampled_from(["rows", "codes", "graph"]), st.floats(0, 1e9))


@given(cases, ways)
def test_any_case(given_case, spared):
    """Whatever is asked, what is chosen is possible and costed, an ef or a recall of 1 is obeyed, and
    what is lost is positive, and only by ways that have to be loaded.
    """
    choice = choose(given_case, spared)
    assert choice.strategy in {"rows", "codes", "graph"}
    assert choice.strategy != "codes" or given_case.coded
    assert choice.strategy != "graph" or given_case.walked
    assert choice.reason
    assert all(lost > 0 for lost in choice.lost.values())
    assert choice.lost.keys() <= {"codes", "graph"}
    assert "codes" not in choice.lost or (given_case.coded and not given_case.codes_ready)
    assert "graph" not in choice.lost or (given_case.walked and not given_case.graph_ready)
    assert choice.count >= given_case.k
    if given_case.recall == 1:
        assert choice.strategy == "rows"
    elif given_case.ef is not None and given_case.walked:
        assert (choice.strategy, choice.width) == ("graph", given_case.ef)
    else:
        assert choice.strategy in choice.costs


@given(cases)
def test_the_cheapest_of_what_is_ready(given_case):
    """Where everything is in memory, nothing is expected to cost less than what is chosen."""
    ready = {"codes_ready": True, "graph_ready": True, "ef": None, "recall": None}
    choice = choose(dataclasses.replace(given_case, **ready), {})
    assert choice.costs[choice.strategy] == min(choice.costs.values())
    assert choice.lost == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"matching": 10_000, "codes_ready": False},
        {"matching": 40_000, "codes_ready": False},
        {"matching": 20_000, "codes_ready": False, "graph_ready": False, "cold": 0.5},
        {"matching": 95_000, "graph_ready": False, "coded": 0},
        {"matching": 500, "codes_ready": False, "graph_ready": False},
    ],
)
def test_loading_pays(changes):
    """What is loaded never costs more than twice what foresight would have, however often the same
    is asked; and in the end there is nothing better.
    """
    spared, ready, total = {}, dict(changes), 0.0
    best = choose(case(**(changes | {"codes_ready": True, "graph_ready": True})), {})
    load = {"codes": CODES_LOADED * 100_000, "graph": GRAPH_LOADED * 100_000, "rows": 0.0}
    for turn in range(1, 400):
        choice = choose(case(**ready), spared)
        total += choice.costs[choice.strategy]
        flag = f"{choice.strategy}_ready"
        if ready.get(flag) is False:
            total += load[choice.strategy]
            ready[flag] = True
        for way, microseconds in choice.lost.items():
            spared[way] = spared.get(way, 0.0) + microseconds
        foresight = min(
            (0.0 if changes.get(f"{way}_ready", True) else load[way]) + turn * cost
            for way, cost in best.costs.items()
        )
        assert total <= 2 * foresight + max(best.costs.values())
    if changes["matching"] >= 10_000:
        assert choice.strategy == best.strategy


def test_nothing_is_loaded_for_one_query():
    """A single query after opening loads neither codes nor graph for what rows do in no time."""
    assert strategy(matching=2000, codes_ready=False, graph_ready=False) == "rows"
    assert strategy(matching=2000) == "codes"


def test_more_is_measured_the_more_is_meant():
    """How many rows are measured by codes grows with k and with how many are meant, and doubles for
    the last per cents of recall.
    """
    counts = [coarse_count(case(matching=matching)) for matching in (10, 1000, 100_000)]
    assert counts[0] < counts[1] < counts[2]
    assert coarse_count(case(k=100)) > coarse_count(case(k=10)) > coarse_count(case(k=1)) >= 1
    assert coarse_count(case(recall=0.9)) == coarse_count(case())
    assert coarse_count(case(recall=0.99)) >= 2 * coarse_count(case()) - 1


def test_walks_are_wider_the_fewer_rows_are_meant():
    """The width of a walk is in inverse proportion to the share that is meant, grows with k and with
    the recall that is asked for, and is what ef says.
    """
    widths = [choose(case(matching=matching), {}).width for matching in (100_000, 50_000, 10_000)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2)
    assert widths[2] == pytest.approx(10 * widths[0], abs=10)
    assert choose(case(k=100), {}).width > choose(case(k=10), {}).width
    efforts = ((16, 9000), (700, 9990))
    wide = [choose(case(recall=recall, efforts=efforts), {}).width for recall in (0.9, 0.99)]
    assert wide[0] < wide[1]
    # Nothing is walked again here: as wide as what is far without a filter.
    for again, times in ((True, WIDER), (False, 1)):
        asked = case(recall=0.999, efforts=efforts, again=again, matching=50_000)
        assert choose(asked, {}).width == 2 * times * 700
    assert choose(case(ef=7), {}).width == 7


def test_costs_grow_with_what_is_touched():
    """No way gets cheaper with more queries, and none but a walk with more rows."""
    for name, values in (("queries", (1, 2, 10, 1000)), ("matching", (60_000, 80_000, 100_000))):
        costs = [choose(case(**{name: value}), {}).costs for value in values]
        for less, more in itertools.pairwise(costs):
            for way in ("rows", "codes"):
                assert less[way] < more[way]


def test_costs_grow_with_components():
    """Codes cost what the components in them do, a walk what those in the graph do; neither what
    the other's do.
    """
    for queries in (1, 10):
        few = choose(case(queries=queries, coded=16, walked=96), {}).costs
        more_coded = choose(case(queries=queries, coded=48, walked=96), {}).costs
        more_walked = choose(case(queries=queries, coded=16, walked=192), {}).costs
        assert few.keys() == more_coded.keys() == more_walked.keys() == {"rows", "codes", "graph"}
        assert few["codes"] < more_coded["codes"]
        assert few["graph"] < more_walked["graph"]
        assert few["codes"] == more_walked["codes"]
        assert few["graph"] == more_coded["graph"]
        assert few["rows"] == more_coded["rows"] == more_walked["rows"]
