"""What is no filter is refused by every call, with its place and without its values."""

import datetime as dt
import decimal
import math

import numpy as np
import pytest
from filter_examples import LEAP, negated, nested
from filter_harness import QUERY, D, vectors
from support import KEY

from cyborg_embedded import Client, InvalidInputError

# No message may hold an operand, so they are such that they would be noticed.
SECRET, NUMBER = "confidential", 918_273_645
NAIVE = dt.datetime(2024, 2, 29, 12, 30)  # noqa: DTZ001 - this is what is refused


def loop(kind):
    """A filter that contains itself."""
    filters = {}
    filters["a" if kind == "value" else kind] = filters if kind in {"$not", "value"} else [filters]
    return filters


# Each: a name, what is no filter, and the place that is named.
MALFORMED = [
    ("a list", [{"a": SECRET}], "filters"),
    ("an empty list", [], "filters"),
    ("text", SECRET, "filters"),
    ("empty text", "", "filters"),
    ("a number", NUMBER, "filters"),
    ("zero", 0, "filters"),
    ("false", False, "filters"),
    ("true", True, "filters"),
    ("pairs", [("a", SECRET)], "filters"),
    ("a set", {SECRET}, "filters"),
    ("an operator in place of a field", {"$gt": NUMBER}, "filters['$gt']"),
    ("an unknown operator in place of a field", {"$xor": [{"a": SECRET}]}, "filters['$xor']"),
    ("a dollar", {"$": SECRET}, "filters['$']"),
    ("an operator in another case", {"$OR": [{"a": SECRET}]}, "filters['$OR']"),
    ("an unknown operator", {"a": {"$near": SECRET}}, "filters['a']['$near']"),
    (
        "an unknown operator beside a known one",
        {"a": {"$gt": NUMBER, "$near": 1}},
        "filters['a']['$near']",
    ),
    (
        "an unknown operator far inside",
        {"$or": [{"a": SECRET}, {"year": {"$gtt": NUMBER}}]},
        "filters['$or'][1]['year']['$gtt']",
    ),
    (
        "an unknown operator in $not",
        {"a": {"$not": {"$near": SECRET}}},
        "filters['a']['$not']['$near']",
    ),
    (
        "an unknown operator in $or",
        {"a": {"$or": [SECRET, {"$near": 1}]}},
        "filters['a']['$or'][1]['$near']",
    ),
    (
        "an unknown operator in $nor",
        {"$nor": [{}, {"b": {"$x": SECRET}}]},
        "filters['$nor'][1]['b']['$x']",
    ),
    (
        "an unknown operator in $and",
        {"$and": [{"$not": {"b": {"$x": 1}}}]},
        "filters['$and'][0]['$not']['b']['$x']",
    ),
    (
        "an unknown operator in $elemMatch",
        {"a": {"$elemMatch": {"$x": SECRET}}},
        "filters['a']['$elemMatch']['$x']",
    ),
    (
        "an unknown operator in a filter in $elemMatch",
        {"a": {"$elemMatch": {"b": {"$x": SECRET}}}},
        "filters['a']['$elemMatch']['b']['$x']",
    ),
    (
        "an operator in a filter in $elemMatch",
        {"a": {"$elemMatch": {"$or": [{"b": SECRET}, {"$gt": NUMBER}]}}},
        "filters['a']['$elemMatch']['$or'][1]['$gt']",
    ),
    (
        "an operator beside a field in $elemMatch",
        {"a": {"$elemMatch": {"b": SECRET, "$gt": 1}}},
        "filters['a']['$elemMatch']",
    ),
    (
        "values alone in logic in $elemMatch",
        {"a": {"$elemMatch": {"$or": [SECRET]}}},
        "filters['a']['$elemMatch']['$or'][0]",
    ),
    ("an operator beside a key", {"a": {"$gt": NUMBER, "b": SECRET}}, "filters['a']"),
    ("a key beside an operator", {"a": {"b": SECRET, "$gt": NUMBER}}, "filters['a']"),
    (
        "a key beside an operator in $not",
        {"a": {"$not": {"b": SECRET, "$gt": 1}}},
        "filters['a']['$not']",
    ),
    (
        "a key beside an operator in $or",
        {"a": {"$or": [1, {"b": 2, "$gt": 1}]}},
        "filters['a']['$or'][1]",
    ),
    ("a field named with quotes", {"it's": {"$near": SECRET}}, "filters[\"it's\"]['$near']"),
    ("a field named with a line", {"a\nb": {"$near": SECRET}}, "filters['a\\nb']['$near']"),
    ("a field named with a dot", {"a.b": {"$near": SECRET}}, "filters['a.b']['$near']"),
    ("$and of a filter", {"$and": {"a": SECRET}}, "filters['$and']"),
    ("$or of text", {"$or": SECRET}, "filters['$or']"),
    ("$or of null", {"$or": None}, "filters['$or']"),
    ("$nor of a number", {"$nor": NUMBER}, "filters['$nor']"),
    ("$or of values", {"$or": [{"a": 1}, SECRET]}, "filters['$or'][1]"),
    ("$and of values", {"$and": [NUMBER]}, "filters['$and'][0]"),
    ("$nor of lists", {"$nor": [[{"a": SECRET}]]}, "filters['$nor'][0]"),
    ("$not of a list", {"$not": [{"a": SECRET}]}, "filters['$not']"),
    ("$not of text", {"$not": SECRET}, "filters['$not']"),
    ("$and of a condition", {"a": {"$and": {"$gt": NUMBER}}}, "filters['a']['$and']"),
    ("$or of one value", {"a": {"$or": SECRET}}, "filters['a']['$or']"),
    ("$nor of one value", {"a": {"$nor": NUMBER}}, "filters['a']['$nor']"),
    *(
        (f"{operator} of {name}", {"a": {operator: operand}}, f"filters['a']['{operator}']")
        for operator in ("$gt", "$gte", "$lt", "$lte")
        for name, operand in (
            *(("null", None), ("true", True), ("false", False)),
            *(("an array", [SECRET]), ("an empty array", []), ("an object", {"b": SECRET})),
        )
    ),
    *(
        (f"{operator} of {name}", {"a": {operator: operand}}, f"filters['a']['{operator}']")
        for operator in ("$in", "$nin", "$all")
        for name, operand in (
            *(("text", SECRET), ("a number", NUMBER), ("null", None), ("true", True)),
            ("an object", {"b": SECRET}),
        )
    ),
    *(
        (f"{operator} of {name}", {"a": {operator: operand}}, f"filters['a']['{operator}']")
        for operator in ("$regex", "$startsWith")
        for name, operand in (
            *(("a number", NUMBER), ("null", None), ("true", True), ("an array", [SECRET])),
            *(("an object", {"b": SECRET}), ("bytes", b"confidential"), ("a datetime", LEAP)),
        )
    ),
    *(
        (f"$exists of {name}", {"a": {"$exists": operand}}, "filters['a']['$exists']")
        for name, operand in (
            ("one", 1),
            ("zero", 0),
            ("text", SECRET),
            ("null", None),
            ("a list", []),
        )
    ),
    *(
        (f"$size of {name}", {"a": {"$size": operand}}, "filters['a']['$size']")
        for name, operand in (
            *(("text", SECRET), ("null", None), ("true", True), ("false", False)),
            *(("an array", [NUMBER]), ("an object", {"$gt": NUMBER})),
        )
    ),
    *(
        (f"$elemMatch of {name}", {"a": {"$elemMatch": operand}}, "filters['a']['$elemMatch']")
        for name, operand in (
            *(("text", SECRET), ("null", None), ("true", True)),
            *(("an array", [{"b": SECRET}]), ("a number", NUMBER)),
        )
    ),
    ("a pattern that does not end", {"a": {"$regex": "(confidential"}}, "filters['a']['$regex']"),
    (
        "a pattern that names a group",
        {"a": {"$regex": "(?P=confidential)"}},
        "filters['a']['$regex']",
    ),
    (
        "a pattern with a group twice",
        {"a": {"$regex": "(?P<confidential>)(?P<confidential>)"}},
        "filters['a']['$regex']",
    ),
    ("a pattern with a star", {"a": {"$regex": "*confidential"}}, "filters['a']['$regex']"),
    ("a pattern with a bad escape", {"a": {"$regex": "confidential\\"}}, "filters['a']['$regex']"),
    ("NaN", {"a": math.nan}, "filters['a']"),
    ("infinity", {"a": {"$eq": math.inf}}, "filters['a']['$eq']"),
    ("minus infinity", {"a": {"$gt": -math.inf}}, "filters['a']['$gt']"),
    ("NaN in a range", {"a": {"$lte": math.nan}}, "filters['a']['$lte']"),
    ("NaN in $ne", {"a": {"$ne": math.nan}}, "filters['a']['$ne']"),
    ("NaN in $in", {"a": {"$in": [SECRET, math.nan]}}, "filters['a']['$in'][1]"),
    ("infinity in $nin", {"a": {"$nin": [math.inf]}}, "filters['a']['$nin'][0]"),
    ("NaN in $all", {"a": {"$all": [NUMBER, 1, math.nan]}}, "filters['a']['$all'][2]"),
    ("NaN in $contains", {"a": {"$contains": math.nan}}, "filters['a']['$contains']"),
    ("NaN in $size", {"a": {"$size": math.nan}}, "filters['a']['$size']"),
    ("NaN in an array", {"a": [SECRET, math.nan]}, "filters['a'][1]"),
    ("infinity in an object", {"a": {"b": [NUMBER, math.inf]}}, "filters['a']['b'][1]"),
    ("NaN in $not", {"a": {"$not": math.nan}}, "filters['a']['$not']"),
    ("NaN in logic", {"a": {"$or": [SECRET, math.nan]}}, "filters['a']['$or'][1]"),
    ("a number for a key", {NUMBER: 1}, "filters"),
    ("null for a key", {None: SECRET}, "filters"),
    ("bytes for a key", {b"a": SECRET}, "filters"),
    ("a number for a key beside others", {"a": 1, 2: SECRET}, "filters"),
    ("a number for a key of a value", {"a": {2: SECRET}}, "filters['a']"),
    ("a number for a key beside an operator", {"a": {"$gt": NUMBER, 2: SECRET}}, "filters['a']"),
    ("a number for a key of an operand", {"a": {"$eq": {2: SECRET}}}, "filters['a']['$eq']"),
    ("a number for a key in logic", {"$or": [{2: SECRET}]}, "filters['$or'][0]"),
    (
        "a number for a key in $elemMatch",
        {"a": {"$elemMatch": {2: SECRET}}},
        "filters['a']['$elemMatch']",
    ),
    ("bytes", {"a": b"confidential"}, "filters['a']"),
    ("a set for a value", {"a": {SECRET}}, "filters['a']"),
    ("a date", {"a": dt.date(2024, 2, 29)}, "filters['a']"),
    ("a decimal", {"a": decimal.Decimal(NUMBER)}, "filters['a']"),
    ("an object of Python", {"a": {"$eq": object()}}, "filters['a']['$eq']"),
    ("an array of numpy", {"a": {"$in": np.zeros(2)}}, "filters['a']['$in']"),
    ("bytes in a list", {"a": {"$in": [1, b"confidential"]}}, "filters['a']['$in'][1]"),
    ("bytes in $contains", {"a": {"$contains": b"confidential"}}, "filters['a']['$contains']"),
    ("a datetime without a time zone", {"a": NAIVE}, "filters['a']"),
    ("a datetime without a time zone in a range", {"a": {"$gt": NAIVE}}, "filters['a']['$gt']"),
    (
        "a datetime without a time zone in a list",
        {"a": {"$in": [LEAP, NAIVE]}},
        "filters['a']['$in'][1]",
    ),
    ("a datetime without a time zone in a value", {"a": {"b": [NAIVE]}}, "filters['a']['b'][0]"),
    ("33 levels", negated(33), "filters"),
    ("33 levels of values", {"a": nested(32)}, "filters"),
    ("33 levels of arrays", {"a": nested(32, lists=True)}, "filters"),
    ("1,000 levels", negated(1000), "filters"),
    ("1,000 levels of values", {"a": nested(1000)}, "filters"),
    ("100,000 levels", negated(100_000), "filters"),
    ("100,000 levels of values", {"a": nested(100_000, lists=True)}, "filters"),
    ("a loop of $and", loop("$and"), "filters"),
    ("a loop of $not", loop("$not"), "filters"),
    ("a loop of values", loop("value"), "filters"),
]

CALLS = {
    "count": lambda index, filters: index.count(filters),
    "count by name": lambda index, filters: index.count(filters=filters),
    "query": lambda index, filters: index.query(QUERY, filters=filters),
    "query of many": lambda index, filters: index.query([QUERY] * 2, filters=filters),
    "query of none": lambda index, filters: index.query(np.zeros((0, D)), filters=filters),
    "query_arrays": lambda index, filters: index.query_arrays(QUERY, filters=filters),
    "query_metadata": lambda index, filters: index.query_metadata(filters),
    "query_metadata by name": lambda index, filters: index.query_metadata(filters=filters),
    "delete": lambda index, filters: index.delete(filters=filters),
    "list_ids": lambda index, filters: index.list_ids(filters=filters),
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """An index of three items, and an empty one without a dimension."""
    with (
        Client(tmp_path_factory.mktemp("few")) as client,
        client.create_index("few", index_key=KEY, dimension=D) as index,
        client.create_index("none", index_key=KEY) as empty,
    ):
        index.upsert(
            list("xyz"), vectors(3), [{"a": SECRET, "year": NUMBER}, {"a": [NUMBER]}, None]
        )
        yield index, empty


@pytest.mark.parametrize("case", MALFORMED, ids=[case[0] for case in MALFORMED])
def test_what_is_no_filter(few, case):
    """Every call refuses what is no filter, names the place and no value, and changes nothing."""
    _, filters, place = case
    for index in few:
        before = (index.sequence, index.list_ids())
        for name, call in CALLS.items():
            with pytest.raises(InvalidInputError) as caught:
                call(index, filters)
            message = str(caught.value)
            assert place in message, name
            assert SECRET not in message, name
            assert str(NUMBER) not in message, name
            assert caught.value.__cause__ is None, name
            assert caught.value.__context__ is None or caught.value.__suppress_context__, name
        assert (index.sequence, index.list_ids()) == before


def test_names_of_what_is_no_filter_are_unique():
    """No case of what is no filter is there twice."""
    assert len({case[0] for case in MALFORMED}) == len(MALFORMED)


@pytest.mark.parametrize(
    "order_by",
    [1, b"a", ["a"], "$a", True, {"a": 1}],
    ids=["number", "bytes", "list", "dollar", "true", "dict"],
)
def test_what_is_no_field_to_sort_by(few, order_by):
    """`order_by` is the path of a field, or nothing."""
    with pytest.raises(InvalidInputError):
        few[0].query_metadata(order_by=order_by)
