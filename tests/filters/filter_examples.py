# ruff: noqa: FBT003 - true and false are examples here, not flags
"""Every sentence of docs/FILTERS.md about what satisfies a filter, by examples."""

import datetime as dt

UTC = dt.timezone.utc
BIG = 2**53  # from here on not every whole number is a float
HUGE = 10**30  # a float that is near is 1e30, and not equal

# Texts around the length at which the columns end.
P63, P64, P65 = "p" * 63, "p" * 64, "p" * 65
LONG = "p" * 200
SMILE, LAST = "\U0001f600", "\U0010ffff"

# 2024-02-29, 12:30:15.123456 and other microseconds of the same millisecond, in two time zones.
LEAP = dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
LEAP_LATER = dt.datetime(2024, 2, 29, 12, 30, 15, 123999, tzinfo=UTC)
LEAP_EAST = dt.datetime(2024, 2, 29, 14, 30, 15, 123000, tzinfo=dt.timezone(dt.timedelta(hours=2)))
LEAP_NEXT = dt.datetime(2024, 2, 29, 12, 30, 15, 124000, tzinfo=UTC)
LEAP_MS = 1_709_209_815_123
BEFORE_1970 = dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def values(*each):
    """Metadata that has these values in its field a, one after another."""
    return [{"a": value} for value in each]


def nested(levels, *, lists=False):
    """Objects, or arrays, nested so many levels deep."""
    value = 1
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return value


def negated(levels):
    """A filter of so many levels."""
    filters = {"a": 1}
    for _ in range(levels - 1):
        filters = {"$not": filters}
    return filters


# Where there is nothing in the field a.
MISSING = [None, {}, {"b": 1}, {"b": {"a": 1}}, {"A": 1}]

# Each: a name, a filter, metadata that satisfies it, metadata that does not.
WHOLE = [
    ("no filter", None, [*MISSING, *values(1, None, [])], []),
    ("the empty filter", {}, [*MISSING, *values(1, None, [])], []),
    (
        "all entries",
        {"a": 1, "b": 2},
        [{"a": 1, "b": 2}, {"a": [1, 3], "b": 2.0, "c": 3}],
        [{"a": 1}, {"b": 2}, {"a": 1, "b": 1}, {"a": 2, "b": 2}, {}, None],
    ),
    (
        "a field beside logic",
        {"a": 1, "$or": [{"b": 1}, {"b": 2}]},
        [{"a": 1, "b": 1}, {"a": 1, "b": 2}],
        [{"a": 1}, {"b": 1}, {"a": 1, "b": 3}, {"a": 2, "b": 2}],
    ),
    (
        "all kinds of logic at once",
        {"$and": [{"a": 1}], "$or": [{"b": 1}], "$nor": [{"c": 1}], "$not": {"d": 1}},
        [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 2, "d": 2}],
        [
            {"b": 1},
            {"a": 1},
            {"a": 1, "b": 1, "c": 1},
            {"a": 1, "b": 1, "d": 1},
            {"a": 1, "b": 1, "c": 1, "d": 1},
        ],
    ),
    (
        "the first example of the page",
        {"year": {"$gte": 2020}, "tags": "physics"},
        [{"year": 2020, "tags": ["physics"]}, {"year": 2021.5, "tags": "physics"}],
        [{"year": 2019, "tags": ["physics"]}, {"year": 2020, "tags": ["Physics"]}, {"year": 2020}],
    ),
    (
        "the second example of the page",
        {"$or": [{"author.name": "Curie"}, {"prizes": {"$size": 2}}]},
        [
            {"author": {"name": "Curie"}},
            {"prizes": [1903, 1911]},
            {"author": [{"name": "Joliot"}, {"name": "Curie"}], "prizes": []},
        ],
        [{"author": "Curie"}, {"author": {"name": "Joliot"}, "prizes": [1935]}, {"name": "Curie"}],
    ),
    ("32 levels", negated(32), [*MISSING, *values(2, None)], values(1, 1.0, [1])),
    ("31 levels", negated(31), values(1, 1.0, [1]), [*MISSING, *values(2, None)]),
    (
        "a value of 31 levels",
        {"a": nested(31)},
        values(nested(31)),
        values(nested(30), [nested(30)], nested(31, lists=True), 1),
    ),
    (
        "a value of 31 levels of arrays",
        {"a": nested(31, lists=True)},
        values(nested(31, lists=True)),
        values(nested(30, lists=True), nested(31), 1),
    ),
]

FIELDS = [
    (
        "into an object",
        {"a.b": 1},
        [{"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": [1]}}],
        [{"b": 1}, {"a": 1}, {"a": {}}, {"a": {"c": {"b": 1}}}, {"a": {"b": {"b": 1}}}, *MISSING],
    ),
    (
        "into objects in objects",
        {"a.b.c.d": 1},
        [{"a": {"b": {"c": {"d": 1}}}}, {"a": [{"b": [{"c": [{"d": [1]}]}]}]}],
        [{"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 1}}}, {"a": {"b": {"c": [[{"d": 1}]]}}}],
    ),
    (
        "into objects of an array",
        {"authors.name": "b"},
        [
            {"authors": [{"name": "a"}, {"name": "b"}]},
            {"authors": [{"name": ["a", "b"]}]},
            {"authors": [1, None, "b", {"name": "b"}, []]},
        ],
        [
            {"authors": [{"name": "a"}]},
            {"authors": ["b"]},
            {"authors": [["name", "b"]]},
            {"authors": [{"other": "b"}]},
            {"authors": []},
            {"name": "b"},
        ],
    ),
    (
        "two values of one field",
        {"$and": [{"authors.name": "a"}, {"authors.name": "b"}]},
        [{"authors": [{"name": "a"}, {"name": "b"}]}, {"authors": {"name": ["b", "a"]}}],
        [{"authors": [{"name": "a"}]}, {"authors": [{"name": "b"}, {"Name": "a"}]}],
    ),
    (
        "two values of one field are all compared by $ne",
        {"authors.name": {"$ne": "a"}},
        [{"authors": [{"name": "b"}, {"name": "c"}]}, {"authors": [{"name": "b"}, {"x": "a"}]}],
        [{"authors": [{"name": "b"}, {"name": "a"}]}, {"authors": [{}]}, {"authors": ["b"]}],
    ),
    (
        "values of several elements may satisfy several operators",
        {"a.b": {"$gt": 5, "$lt": 3}},
        [{"a": [{"b": 6}, {"b": 2}]}, {"a": {"b": [2, 6]}}],
        [{"a": [{"b": 6}]}, {"a": [{"b": 4}, {"b": 2}]}, {"a": [{"b": 3}, {"b": 5}]}],
    ),
    (
        "not into arrays in arrays",
        {"a.b": 1},
        [{"a": [[], {"b": 1}]}, {"a": [[{"b": 2}], {"b": 1}]}],
        [{"a": [[{"b": 1}]]}, {"a": [[[{"b": 1}]]]}, {"a": [{"c": 1}, [{"b": 1}]]}],
    ),
    (
        "not into arrays in arrays further down",
        {"a.b.c": 1},
        [{"a": {"b": [{"c": 1}]}}, {"a": [{"b": [{"c": 2}, {"c": 1}]}]}],
        [{"a": {"b": [[{"c": 1}]]}}, {"a": [[{"b": {"c": 1}}]]}, {"a": [{"b": [[{"c": 1}]]}]}],
    ),
    (
        "no positions",
        {"a.0": 1},
        [{"a": {"0": 1}}, {"a.0": 1}, {"a": [{"0": 1}]}],
        [{"a": [1]}, {"a": [[1]]}, {"a": 1}, {"a": {"b": 1}}],
    ),
    (
        "no positions inside a path",
        {"a.0.b": 1},
        [{"a": {"0": {"b": 1}}}, {"a": [{"0": {"b": 1}}]}],
        [{"a": [{"b": 1}]}, {"a": [[{"b": 1}]]}],
    ),
    (
        "no negative positions",
        {"a.-1": {"$exists": True}},
        [{"a": {"-1": 1}}],
        [{"a": [1]}, {"a": [{"b": 1}]}],
    ),
    (
        "a key with a dot, or an object: one",
        {"a.b": 1},
        [{"a.b": 1, "a": {"b": 2}}, {"a.b": 1}, {"a.b": 2, "a": {"b": 1}}, {"a.b": 1, "a": 5}],
        [{"a.b": 2, "a": {"b": 3}}, {"a.b": {"a.b": 1}}, {"a.b.": 1}],
    ),
    (
        "a key with a dot, or an object: the other",
        {"a.b": 2},
        [{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 2}}, {"a.b": 2, "a": {"b": 1}}],
        [{"a.b": 1, "a": {"b": 1}}],
    ),
    (
        "a key with a dot and an object: both",
        {"a.b": {"$all": [1, 2]}},
        [{"a.b": 1, "a": {"b": 2}}, {"a.b": 2, "a": [{"b": 1}]}],
        [{"a.b": 1}, {"a": {"b": 2}}, {"a.b": 1, "a": {"b": 1}}],
    ),
    (
        "a key with a dot and an object, and $ne",
        {"a.b": {"$ne": 1}},
        [{"a.b": 3, "a": {"b": 2}}, {"a.b": 2}],
        [{"a.b": 1, "a": {"b": 2}}, {"a.b": 2, "a": {"b": 1}}, {"a": 2}, {}],
    ),
    (
        "keys with dots anywhere in a path",
        {"a.b.c": 1},
        [
            {"a.b.c": 1},
            {"a.b": {"c": 1}},
            {"a": {"b.c": 1}},
            {"a": {"b": {"c": 1}}},
            {"a": [{"b.c": 1}]},
            {"a.b": [{"c": 0}, {"c": 1}]},
        ],
        [{"a.b": 1}, {"a": {"b": 1}, "c": 1}, {"b.c": 1}, {"a": {"a.b": {"c": 1}}}],
    ),
    ("the empty key", {"": 1}, [{"": 1}, {"": [1]}], [{"a": 1}, {"": {"": 1}}, {}, None]),
    (
        "empty keys in a path",
        {"a.": 1},
        [{"a": {"": 1}}, {"a.": 1}, {"a": [{"": 1}]}],
        [{"a": 1}, {"a": [1]}, {"": {"a": 1}}],
    ),
    ("a path of empty keys", {".": 1}, [{"": {"": 1}}, {".": 1}], [{"": 1}, {"": {"a": 1}}, {}]),
    (
        "two dots",
        {"a..b": 1},
        [{"a": {"": {"b": 1}}}, {"a.": {"b": 1}}, {"a": {".b": 1}}, {"a..b": 1}],
        [{"a": {"b": 1}}, {"a.b": 1}],
    ),
    ("keys are told apart by case", {"Key": 1}, [{"Key": 1}], [{"key": 1}, {"KEY": 1}]),
    ("keys with blanks", {"a b": 1}, [{"a b": 1}], [{"ab": 1}, {"a": {"b": 1}}, {"a b ": 1}]),
    ("keys are not normalised", {"\xe9": 1}, [{"\xe9": 1}], [{"e\u0301": 1}, {"e": 1}]),
    (
        "keys beyond the basic plane",
        {f"{SMILE}.{LAST}": 1},
        [{SMILE: {LAST: 1}}, {f"{SMILE}.{LAST}": 1}],
        [{SMILE: {SMILE: 1}}, {LAST: {SMILE: 1}}, {SMILE: 1}],
    ),
    ("keys with a null character", {"k\0": 1}, [{"k\0": 1}], [{"k": 1}, {"k\0\0": 1}, {"\0": 1}]),
    (
        "keys with quotes, brackets and lines",
        {'it\'s "[k]"\n': 1},
        [{'it\'s "[k]"\n': 1}],
        [{'it\'s "[k]"': 1}, {"it's": 1}],
    ),
    (
        "keys that differ after 64 characters",
        {P64 + "x": 1},
        [{P64 + "x": 1}],
        [{P64: 1}, {P64 + "y": 1}, {P65: 1}, {P64 + "xx": 1}],
    ),
    ("a dollar inside a key", {"a$b": 1}, [{"a$b": 1}], [{"a": 1}, {"$b": 1}, {"a": {"$b": 1}}]),
    (
        "a key that begins with a dollar stands beside others",
        {"a": 1},
        [{"a": 1, "$a": 2}],
        [{"$a": 1}, {"a": {"$a": 1}}],
    ),
    (
        "an object in between that is none",
        {"a.b": {"$exists": False}},
        [
            {"a": 1},
            {"a": "b"},
            {"a": None},
            {"a": []},
            {"a": {}},
            {"a": ["b"]},
            {"a": [[{"b": 1}]]},
        ],
        [{"a": {"b": None}}, {"a": [{"b": []}]}, {"a.b": False}, {"a": [{"b": 1}, 2]}],
    ),
]

EQUALITY = [
    ("a bare number", {"a": 20}, values(20, 20.0, [1, 20]), [*values(2, "20", None), *MISSING]),
    ("$eq", {"a": {"$eq": 20}}, values(20, 20.0, [20, 1]), [*values(2, "20", [[20]]), *MISSING]),
    ("$eq of a fraction", {"a": {"$eq": 0.1}}, values(0.1), values(0.1 + 2**-56, 0, 1, "0.1")),
    ("a whole float", {"a": 20.0}, values(20, 20.0), values(20.5, "20.0", [[20]], {"a": 20})),
    ("minus zero", {"a": -0.0}, values(0, 0.0, -0.0), values(False, None, "", 5e-324)),
    ("zero", {"a": 0}, values(0, 0.0, -0.0), values(False, None, "", "0", [], {})),
    ("text", {"a": "20"}, values("20", ["20"]), [*values(20, "20.0", " 20", "2"), *MISSING]),
    (
        "the empty text",
        {"a": ""},
        values("", [""]),
        [*values(None, [], {}, 0, " ", "\0"), *MISSING],
    ),
    ("true", {"a": True}, values(True, [True]), [*values(1, 1.0, "true", False), *MISSING]),
    ("false", {"a": False}, values(False, [0, False]), [*values(0, 0.0, "", None), *MISSING]),
    ("one", {"a": 1}, values(1, 1.0, [True, 1]), values(True, [True], "1")),
    ("zero and false", {"a": {"$in": [0]}}, values(0, [False, 0]), values(False, [False], None)),
    (
        "null",
        {"a": None},
        values(None, [None], [1, None]),
        [*values([], {}, 0, "", False), *MISSING],
    ),
    ("$eq null", {"a": {"$eq": None}}, values(None, [None]), [*values([[None]], "null"), *MISSING]),
    (
        "null at the end of a path",
        {"a.b": None},
        [{"a": {"b": None}}, {"a": [{"b": 1}, {"b": None}]}],
        [{"a": None}, {"a": {}}, {"a": {"c": None}}, {"a": []}],
    ),
    (
        "a large whole number",
        {"a": BIG + 1},
        values(BIG + 1, [BIG + 1]),
        values(BIG, BIG + 2, float(BIG), float(BIG + 2), str(BIG + 1)),
    ),
    ("a large float", {"a": float(BIG)}, values(BIG, float(BIG)), values(BIG + 1, BIG - 1)),
    ("a huge number", {"a": HUGE}, values(HUGE), values(HUGE + 1, HUGE - 1, 1e30, -HUGE)),
    ("a huge float", {"a": 1e30}, values(1e30, int(1e30)), values(HUGE, int(1e30) + 1)),
    ("beyond 64 bits", {"a": 2**64}, values(2**64, 2.0**64), values(2**64 - 1, 2**64 + 1, 0)),
    ("the end of 63 bits", {"a": 2**63 - 1}, values(2**63 - 1), values(2**63, 2.0**63, -(2**63))),
    (
        "beyond all floats",
        {"a": 10**400},
        values(10**400),
        values(10**400 + 1, 1.7e308, -(10**400)),
    ),
    ("the least float", {"a": 5e-324}, values(5e-324), values(0, 1e-323, -5e-324)),
    ("text is not normalised", {"a": "\xe9"}, values("\xe9"), values("e\u0301", "e", "\xc9")),
    ("case", {"a": "Straße"}, values("Straße"), values("straße", "STRASSE", "Strasse")),
    ("blanks", {"a": "a b"}, values("a b"), values("a  b", " a b", "a b ", "a b\n", "a\xa0b")),
    ("null characters", {"a": "a\0"}, values("a\0"), values("a", "a\0\0", "\0a")),
    ("a text without a null character", {"a": "a"}, values("a"), values("a\0", "\0a", "a\0b")),
    ("a null character alone", {"a": "\0"}, values("\0"), values("", "\0\0", None)),
    ("beyond the basic plane", {"a": SMILE}, values(SMILE), values(LAST, "\uf600", SMILE * 2)),
    ("the last code point", {"a": LAST}, values(LAST), values("\uffff", LAST * 2, "")),
    ("63 characters", {"a": P63}, values(P63), values(P64, P65, P63[1:], P63 + "q")),
    ("64 characters", {"a": P64}, values(P64), values(P63, P65, P64 + "q", LONG)),
    ("65 characters", {"a": P65}, values(P65), values(P64, P65 + "p", P64 + "q", LONG)),
    (
        "texts that differ after 64 characters",
        {"a": P64 + "x"},
        values(P64 + "x", ["x", P64 + "x"]),
        values(P64 + "y", P64, P64 + "xx", [P64 + "y"], P64 + "X", P64 + "\0"),
    ),
    (
        "texts that differ after 65 characters",
        {"a": P65 + "x"},
        values(P65 + "x"),
        values(P65 + "y", P65, P64 + "x", P65 + "x\0"),
    ),
    (
        "long texts beyond the basic plane",
        {"a": SMILE * 64 + "x"},
        values(SMILE * 64 + "x"),
        values(SMILE * 64 + "y", SMILE * 64, SMILE * 32, SMILE * 65),
    ),
    (
        "long texts of the last code point",
        {"a": LAST * 70},
        values(LAST * 70),
        values(LAST * 64, LAST * 69, LAST * 71, LAST * 69 + "x"),
    ),
    (
        "null characters at the end of a long text",
        {"a": P64 + "\0"},
        values(P64 + "\0"),
        values(P64),
    ),
    (
        "an array",
        {"a": [1, 2]},
        values([1, 2], [1.0, 2.0], [[1, 2]], [0, [1, 2]]),
        [*values([2, 1], [1], [1, 2, 3], [[2, 1]], [[[1, 2]]], 1, {"0": 1, "1": 2}), *MISSING],
    ),
    (
        "the empty array",
        {"a": []},
        values([], [[]], [1, []]),
        [*values(None, [1], {}, ""), *MISSING],
    ),
    (
        "an array with types that are alike",
        {"a": [1, "1", None]},
        values([1, "1", None], [1.0, "1", None]),
        values([True, "1", None], [1, 1, None], [1, "1"], [1, "1", False]),
    ),
    (
        "an array of arrays",
        {"a": [[1]]},
        values([[1]], [[[1]]]),
        values([1], 1, [[1], [1]], [[[[1]]]]),
    ),
    (
        "an array with long texts",
        {"a": [P64 + "x"]},
        values([P64 + "x"]),
        values([P64 + "y"], P64 + "x", [P64]),
    ),
    (
        "an object",
        {"a": {"b": 1}},
        values({"b": 1}, {"b": 1.0}, [{"b": 1}], [2, {"b": 1}]),
        [*values({"b": 1, "c": 2}, {}, {"b": 2}, {"b": True}, {"b": [1]}, [[{"b": 1}]]), *MISSING],
    ),
    (
        "the keys of an object in any order",
        {"a": {"b": 1, "c": 2}},
        values({"c": 2, "b": 1}, {"b": 1, "c": 2}),
        values({"b": 2, "c": 1}, {"b": 1}, {"c": 2}, {"b": 1, "c": 2, "d": None}),
    ),
    (
        "the empty object",
        {"a": {}},
        values({}, [{}], [1, {}]),
        [*values([], None, {"b": 1}), *MISSING],
    ),
    ("$eq the empty object", {"a": {"$eq": {}}}, values({}, [{}]), [*values([], None), *MISSING]),
    (
        "a dotted key in a value is no path",
        {"a": {"b.c": 1}},
        values({"b.c": 1}),
        values({"b": {"c": 1}}, {"b": 1}),
    ),
    (
        "objects in objects",
        {"a": {"b": {"c": [1, {"d": None}]}}},
        values({"b": {"c": [1, {"d": None}]}}, {"b": {"c": [1.0, {"d": None}]}}),
        values({"b": {"c": [1, {}]}}, {"b": {"c": [{"d": None}, 1]}}, {"b": {"c": 1}}),
    ),
    (
        "a key with a dollar in a value",
        {"a": {"$eq": {"$gt": 1}}},
        values({"$gt": 1}, [{"$gt": 1.0}]),
        values(2, {"$gt": 2}, {"gt": 1}, [2]),
    ),
    (
        "looking inside",
        {"a.b": 1, "a.c": 2},
        [{"a": {"b": 1, "c": 2, "d": 3}}, {"a": [{"b": 1}, {"c": 2}]}],
        [{"a": {"b": 1}}, {"a": {"c": 2}}],
    ),
    (
        "$ne",
        {"a": {"$ne": 1}},
        values(2, "1", True, None, [], [2, 3], {}, [[1]]),
        [*values(1, 1.0, [1], [2, 1]), *MISSING],
    ),
    (
        "$ne null",
        {"a": {"$ne": None}},
        values(1, [], {}, "", [[None]]),
        [*values(None, [None]), *MISSING],
    ),
    (
        "$ne true",
        {"a": {"$ne": True}},
        values(1, False, "true"),
        [*values(True, [True, 1]), *MISSING],
    ),
    ("$ne of long text", {"a": {"$ne": P64 + "x"}}, values(P64 + "y", P64, 1), values(P64 + "x")),
    (
        "$ne of an array",
        {"a": {"$ne": [1, 2]}},
        values([2, 1], 1, [1], []),
        [*values([1, 2], [[1, 2], 3]), *MISSING],
    ),
    (
        "$ne of an object",
        {"a": {"$ne": {"b": 1}}},
        values({"b": 2}, {}, 1, [[{"b": 1}]]),
        [*values({"b": 1}, [{"b": 1.0}]), *MISSING],
    ),
    ("$ne of what is nowhere", {"a": {"$ne": "nowhere"}}, values(1, None, []), MISSING),
]

RANGES = [
    (
        "$gt",
        {"a": {"$gt": 20}},
        values(21, 20.5, [1, 21], HUGE, 10**400),
        [*values(20, 20.0, 19, "21", True, None, [[21]], {"a": 21}, []), *MISSING],
    ),
    (
        "$gte",
        {"a": {"$gte": 20}},
        values(20, 20.0, 21, [20]),
        [*values(19.9, "20", True), *MISSING],
    ),
    (
        "$lt",
        {"a": {"$lt": 20}},
        values(19, 19.5, -HUGE, [30, 1], -(10**400)),
        [*values(20, 20.0, "1", False, None, [], [[1]]), *MISSING],
    ),
    ("$lte", {"a": {"$lte": 20}}, values(20, 20.0, 3, [20]), [*values(20.1, "20", None), *MISSING]),
    ("above zero is not true", {"a": {"$gt": 0}}, values(1, 5e-324), values(True, "1", 0, -0.0)),
    ("below one is not false", {"a": {"$lt": 1}}, values(0, -1), values(False, "", None, 1)),
    ("greater than a fraction", {"a": {"$gt": 0.5}}, values(1, 0.75), values(0.5, 0, True)),
    ("between", {"a": {"$gte": 5, "$lt": 7}}, values(5, 6, 6.5, [6]), values(4, 7, 8, "6")),
    (
        "between is of any comparable values each",
        {"a": {"$gt": 5, "$lt": 3}},
        values([1, 9], [9, 4, 2]),
        values(4, [4], [1, 2], [6, 7]),
    ),
    (
        "ranges beside other operators",
        {"a": {"$gt": 5, "$ne": 7, "$in": [6, 7, 8]}},
        values(6, 8, [6, 1]),
        values(7, 5, 9, [6, 7]),
    ),
    (
        "beyond floats: $gt",
        {"a": {"$gt": BIG}},
        values(BIG + 1, float(BIG + 2)),
        values(BIG, 2.0**53),
    ),
    (
        "beyond floats: $gte",
        {"a": {"$gte": BIG + 1}},
        values(BIG + 1, BIG + 2),
        values(BIG, 2.0**53),
    ),
    ("beyond floats: $lt", {"a": {"$lt": BIG + 1}}, values(BIG, 2.0**53), values(BIG + 1, BIG + 2)),
    ("beyond floats: below", {"a": {"$lt": -BIG}}, values(-BIG - 1), values(-BIG, -(2.0**53), BIG)),
    ("a float and a large number", {"a": {"$gt": 2.0**53}}, values(BIG + 1), values(BIG, BIG - 1)),
    ("above a huge number", {"a": {"$gt": HUGE}}, values(HUGE + 1, 1e30, 1e31), values(HUGE, 1e29)),
    ("below a huge number", {"a": {"$lt": HUGE}}, values(HUGE - 1, 1e29), values(HUGE, 1e30)),
    ("above a huge float", {"a": {"$gt": 1e30}}, values(int(1e30) + 1), values(HUGE, int(1e30))),
    ("around 63 bits", {"a": {"$gte": 2**63}}, values(2**63, 2.0**63, 2**64), values(2**63 - 1)),
    ("around 64 bits", {"a": {"$gt": 2**64 - 1}}, values(2**64, 2.0**64), values(2**64 - 1, 2**63)),
    ("beyond all floats above", {"a": {"$lt": 10**400}}, values(1.7e308, 10**399), values(10**400)),
    ("beyond all floats below", {"a": {"$gt": -(10**400)}}, values(-1.7e308), values(-(10**401))),
    (
        "$gt a text",
        {"a": {"$gt": "B"}},
        values("a", "Ba", "b", "\xe9", ["A", "C"], SMILE),
        [*values("B", "A", "", "20", 5, None, True, ["A"], [["C"]]), *MISSING],
    ),
    (
        "text by code points",
        {"a": {"$lt": "a"}},
        values("B", "Z", "", "9"),
        values("a", "b", "\xe9"),
    ),
    (
        "text that is a prefix",
        {"a": {"$gt": "ab"}},
        values("ab\0", "abc", "b"),
        values("ab", "a", "aa"),
    ),
    (
        "from the empty text on",
        {"a": {"$gte": ""}},
        values("", "a", [""], LAST),
        values(1, None, []),
    ),
    (
        "nothing is below the empty text",
        {"a": {"$lt": ""}},
        [],
        [*values("", "a", -1, None), *MISSING],
    ),
    (
        "code points, not code units",
        {"a": {"$gt": "\uffff"}},
        values(SMILE, LAST, "\uffff\0", "\U00010000"),
        values("\uffff", "\ufffe", "\ud7ff", "z"),
    ),
    (
        "up to the last code point",
        {"a": {"$lte": LAST}},
        values(LAST, SMILE, ""),
        values(LAST + "a"),
    ),
    (
        "beyond the last code point",
        {"a": {"$gt": LAST}},
        values(LAST + "\0", LAST * 2),
        values(LAST),
    ),
    (
        "$gt of 64 characters",
        {"a": {"$gt": P64}},
        values(P65, P64 + "\0", "q", LONG, P63 + "q"),
        values(P64, P63, P63 + "o", "p", "o" * 70),
    ),
    (
        "$gte of 64 characters",
        {"a": {"$gte": P64}},
        values(P64, P65, LONG),
        values(P63, P63 + "o", P63 + "oz"),
    ),
    ("$lt of 64 characters", {"a": {"$lt": P64}}, values(P63, P63 + "o" * 9), values(P64, P65)),
    ("$lte of 64 characters", {"a": {"$lte": P64}}, values(P64, P63), values(P65, P64 + "\0", "q")),
    (
        "$gt of long text",
        {"a": {"$gt": P64 + "m"}},
        values(P64 + "n", P64 + "ma", P65, "q"),
        values(P64 + "m", P64 + "l", P64, P64 + "lz", P63),
    ),
    (
        "$gte of long text",
        {"a": {"$gte": P65 + "m"}},
        values(P65 + "m", P65 + "n", LONG, ["a", P65 + "n"]),
        values(P65 + "l", P65, P64 + "m", P64),
    ),
    (
        "$lt of long text",
        {"a": {"$lt": P64 + "m"}},
        values(P64 + "l", P64, P63, P64 + "lz", "a"),
        values(P64 + "m", P64 + "n", P64 + "m\0", "q"),
    ),
    (
        "$lte of long text",
        {"a": {"$lte": P65 + "m"}},
        values(P65 + "m", P65 + "l", P65, P64 + "m"),
        values(P65 + "n", P65 + "m\0", LONG, "q"),
    ),
    (
        "between long texts",
        {"a": {"$gt": P64 + "b", "$lt": P64 + "d"}},
        values(P64 + "c", P64 + "bb"),
        values(P64 + "b", P64 + "d", P64, P65),
    ),
    (
        "ranges of long texts beyond the basic plane",
        {"a": {"$gt": SMILE * 64}},
        values(SMILE * 65, SMILE * 64 + "a", LAST),
        values(SMILE * 64, SMILE * 63, "\uffff", SMILE * 63 + "\uffff" * 2),
    ),
    ("ranges of objects", {"a.b": {"$gt": 1}}, [{"a": [{"b": 0}, {"b": 2}]}], [{"a": {"b": 1}}]),
]

LISTS = [
    (
        "$in",
        {"a": {"$in": [1, "x", None]}},
        values(1, 1.0, "x", None, [2, "x"], [None]),
        [*values(2, "1", "X", True, [], [["x"]], {}), *MISSING],
    ),
    ("$in []", {"a": {"$in": []}}, [], [*values(1, None, [], [[]]), *MISSING]),
    ("$in with one", {"a": {"$in": [20.0]}}, values(20, [20]), [*values("20", 21), *MISSING]),
    (
        "$in with truth values",
        {"a": {"$in": [True]}},
        values(True, [True]),
        values(1, "true", False),
    ),
    (
        "$in with arrays and objects",
        {"a": {"$in": [[1, 2], {"b": 1}, []]}},
        values([1, 2], [[1, 2]], {"b": 1}, [{"b": 1.0}], [], [[]]),
        [*values([2, 1], {"b": 2}, {}, 1, [1]), *MISSING],
    ),
    (
        "$in with numbers of all sizes",
        {"a": {"$in": [BIG + 1, HUGE, 0.5]}},
        values(BIG + 1, HUGE, 0.5),
        values(BIG, 1e30, 0, 1, BIG + 2),
    ),
    (
        "$in with long texts",
        {"a": {"$in": [P64 + "x", P65 + "y", P64]}},
        values(P64 + "x", P65 + "y", P64, [P64]),
        values(P64 + "y", P65, P65 + "x", P63),
    ),
    ("$in with the same twice", {"a": {"$in": [1, 1, 1.0]}}, values(1, [1, 1]), values(2, True)),
    (
        "$nin",
        {"a": {"$nin": [1, "x", None]}},
        [*values(2, "1", True, [], [2], [["x"]], {}), *MISSING],
        values(1, 1.0, "x", None, [2, "x"], [None]),
    ),
    ("$nin []", {"a": {"$nin": []}}, [*values(1, None, []), *MISSING], []),
    (
        "$nin with long texts",
        {"a": {"$nin": [P64 + "x"]}},
        [*values(P64 + "y", P64, [P64]), *MISSING],
        values(P64 + "x", ["a", P64 + "x"]),
    ),
    (
        "$nin with arrays and objects",
        {"a": {"$nin": [[1], {"b": 1}]}},
        [*values([2], 1, {}, [[[1]]]), *MISSING],
        values([1], [[1]], {"b": 1}, [{"b": 1}]),
    ),
    (
        "$all",
        {"a": {"$all": [1, "x"]}},
        values([1, "x"], ["x", 2, 1.0]),
        [*values(1, "x", [1], ["x"], [[1, "x"]], [True, "x"]), *MISSING],
    ),
    ("$all []", {"a": {"$all": []}}, [], [*values(1, None, [], [[]]), *MISSING]),
    ("$all with one", {"a": {"$all": [1]}}, values(1, [1], [2, 1]), [*values(2, [[1]]), *MISSING]),
    ("$all with the same twice", {"a": {"$all": [1, 1.0]}}, values(1, [1]), values(2, [True])),
    (
        "$all with null",
        {"a": {"$all": [None]}},
        values(None, [None, 1]),
        [*values([], 0), *MISSING],
    ),
    (
        "$all with an array and an element of it",
        {"a": {"$all": [[1, 2], 1]}},
        values([1, 2], [[1, 2], 1]),
        values([[1, 2]], [1], [2, 1]),
    ),
    (
        "$all over several values",
        {"a.b": {"$all": [1, 2]}},
        [{"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": [1]}, {"b": [3, 2]}]}, {"a": {"b": [1, 2]}}],
        [{"a": [{"b": 1}, {"c": 2}]}, {"a": {"b": 1}}, {"a": [1, 2]}],
    ),
    (
        "$all with long texts",
        {"a": {"$all": [P64 + "x", P64 + "y"]}},
        values([P64 + "y", P64 + "x"]),
        values([P64 + "x"], [P64 + "x", P64], P64 + "x", [P64 + "x", P64 + "x"]),
    ),
    (
        "$all with objects",
        {"a": {"$all": [{"b": 1}]}},
        values({"b": 1}, [{"b": 1}, 2]),
        values({"b": 2}, [{"b": 1, "c": 1}], [[{"b": 1}]]),
    ),
    (
        "$exists true",
        {"a": {"$exists": True}},
        values(1, None, [], {}, "", False, 0, [None]),
        MISSING,
    ),
    (
        "$exists false",
        {"a": {"$exists": False}},
        MISSING,
        values(1, None, [], {}, "", False, 0, [None]),
    ),
    (
        "$exists in an array of objects",
        {"a.b": {"$exists": True}},
        [{"a": [{"b": None}]}, {"a": [1, {"b": []}]}, {"a": {"b": 0}}, {"a.b": None}],
        [{"a": [{}]}, {"a": []}, {"a": "b"}, {"a": [[{"b": 1}]]}, {"b": 1}, {}, None],
    ),
    (
        "$exists and a value",
        {"a": {"$exists": True, "$nin": [1]}},
        values(2, None, []),
        [*values(1, [1]), *MISSING],
    ),
    (
        "$exists false and a value",
        {"a": {"$exists": False, "$eq": 1}},
        [],
        [*values(1, 2), *MISSING],
    ),
    ("$size 0", {"a": {"$size": 0}}, values([]), [*values([1], [[]], None, "", {}), *MISSING]),
    (
        "$size 1",
        {"a": {"$size": 1}},
        values([None], [[]], [[1, 2]]),
        values([], [1, 2], "x", {"b": 1}),
    ),
    (
        "$size 2",
        {"a": {"$size": 2}},
        values([1, 2], [1, 1]),
        values([1], [[1, 2]], "ab", 2, [1, 2, 3]),
    ),
    (
        "$size of one of several values",
        {"a.b": {"$size": 2}},
        [{"a": [{"b": [1]}, {"b": [1, 2]}]}, {"a.b": [1, 2], "a": {"b": 1}}],
        [{"a": [{"b": [1]}, {"b": 2}]}, {"a": [1, 2]}, {"a": {"b": [[1, 2]]}}],
    ),
    ("$size of many", {"a": {"$size": 300}}, values([0] * 300), values([0] * 299, [0] * 301, 300)),
]

TEXTS = [
    (
        "$regex",
        {"a": {"$regex": "b+c"}},
        values("abbc", "bc", "xbcx", ["x", "bc"]),
        [*values("ac", "BC", 5, None, [], [["bc"]], {"bc": "bc"}), *MISSING],
    ),
    (
        "$regex at the beginning",
        {"a": {"$regex": "^ab"}},
        values("ab", "abc"),
        values("cab", "x\nab"),
    ),
    (
        "$regex at the end",
        {"a": {"$regex": "ab$"}},
        values("ab", "cab", "ab\n"),
        values("abc", "ab\nc"),
    ),
    ("$regex without case", {"a": {"$regex": "(?i)ab"}}, values("AB", "xaBx"), values("a b", "ba")),
    (
        "$regex by lines",
        {"a": {"$regex": "(?m)^b$"}},
        values("a\nb", "b\na"),
        values("ab", "a\nbc"),
    ),
    (
        "$regex over lines",
        {"a": {"$regex": "(?s)a.b"}},
        values("a\nb", "axb"),
        values("ab", "a\n\nb"),
    ),
    ("$regex not over lines", {"a": {"$regex": "a.b"}}, values("axb"), values("a\nb", "ab")),
    (
        "$regex of nothing",
        {"a": {"$regex": ""}},
        values("", "a", [1, "a"]),
        [*values(1, [], None), *MISSING],
    ),
    (
        "$regex of the empty text",
        {"a": {"$regex": r"^\Z"}},
        values("", [""]),
        values("a", "\n", [], None),
    ),
    (
        "$regex of digits is for text",
        {"a": {"$regex": r"^\d+$"}},
        values("20", ["20"]),
        values(20, [20]),
    ),
    (
        "$regex with words",
        {"a": {"$regex": r"\bcat\b"}},
        values("a cat", "cat"),
        values("cats", "concat"),
    ),
    (
        "$regex with a choice",
        {"a": {"$regex": "^(?:a|b)$"}},
        values("a", "b"),
        values("ab", "c", ""),
    ),
    (
        "$regex with look-around",
        {"a": {"$regex": "(?<=a)b(?!c)"}},
        values("ab", "abd"),
        values("abc", "b"),
    ),
    (
        "$regex with a reference",
        {"a": {"$regex": r"(.)\1"}},
        values("aa", SMILE * 2),
        values("ab", "aba"),
    ),
    (
        "$regex with special letters",
        {"a": {"$regex": "^.$"}},
        values(SMILE, "\xe9", LAST),
        values("e\u0301"),
    ),
    (
        "$regex with a null character",
        {"a": {"$regex": r"\x00\Z"}},
        values("a\0"),
        values("a", "\0a"),
    ),
    (
        "$regex on 64 characters",
        {"a": {"$regex": r"\Ap{64}\Z"}},
        values(P64, ["x", P64]),
        values(P63, P65, P64 + "q", LONG),
    ),
    (
        "$regex on 65 characters",
        {"a": {"$regex": r"\Ap{65}\Z"}},
        values(P65),
        values(P64, P64 + "q", P65 + "p", LONG),
    ),
    (
        "$regex beyond the 64th character",
        {"a": {"$regex": "xy$"}},
        values(P63 + "xy", P64 + "xy", P65 + "xy", LONG + "xy", "xy", [LONG + "xy"]),
        values(P64 + "x", P63 + "x", P64 + "xyp", LONG),
    ),
    (
        "$regex that only long text lacks",
        {"a": {"$regex": r"\A[^z]*\Z"}},
        values(P64 + "y", P64, LONG, ""),
        values(P64 + "z", P65 + "z", LONG + "z", "z", 1),
    ),
    (
        "$regex over the 64th character",
        {"a": {"$regex": "ab"}},
        values(P63 + "ab", P63 + "abc", P64 + "ab"),
        values(P63 + "a", P63 + "ba", P64 + "a"),
    ),
    (
        "$contains text",
        {"a": {"$contains": "bc"}},
        values("abcd", "bc", ["x", "abc"]),
        [*values("b", "cb", "BC", 5, [], [["bc"]], {"bc": "bc"}), *MISSING],
    ),
    (
        "$contains the empty text",
        {"a": {"$contains": ""}},
        values("", "a", [1, ""]),
        [*values(1, []), *MISSING],
    ),
    (
        "$contains text that is no pattern",
        {"a": {"$contains": "a.c"}},
        values("xa.cx"),
        values("abc"),
    ),
    ("$contains digits", {"a": {"$contains": "2"}}, values("120", ["2"]), values(2, [2], 12, [12])),
    (
        "$contains a null character",
        {"a": {"$contains": "\0"}},
        values("\0", "a\0"),
        values("a", ""),
    ),
    ("$contains an accent", {"a": {"$contains": "\u0301"}}, values("e\u0301"), values("\xe9", "e")),
    (
        "$contains beyond the basic plane",
        {"a": {"$contains": SMILE}},
        values("a" + SMILE),
        values(LAST, "a"),
    ),
    (
        "$contains text beyond the 64th character",
        {"a": {"$contains": "xy"}},
        values(P64 + "xy", P63 + "xy", P65 + "xyp", LONG + "xy", "xy", ["p", P64 + "xy"]),
        values(P64 + "x", P64 + "yx", LONG, P63 + "x"),
    ),
    (
        "$contains long text",
        {"a": {"$contains": P65}},
        values(P65, "x" + P65, LONG, [LONG]),
        values(P64, P64 + "q", P63 + "qp"),
    ),
    (
        "$contains 64 characters",
        {"a": {"$contains": P64}},
        values(P64, P65, "x" + P64, P64 + "q"),
        values(P63, P63 + "q" + P63),
    ),
    (
        "$contains a number",
        {"a": {"$contains": 5}},
        values([5], [1, 5.0], [[], 5]),
        [*values(5, [], "5", ["5"], [[5]], {"b": 5}, [{"b": 5}]), *MISSING],
    ),
    (
        "$contains true",
        {"a": {"$contains": True}},
        values([True], [1, True]),
        values(True, [1], ["true"]),
    ),
    (
        "$contains null",
        {"a": {"$contains": None}},
        values([None], [1, None]),
        [*values(None, [], [[None]]), *MISSING],
    ),
    (
        "$contains an array",
        {"a": {"$contains": [5]}},
        values([[5]], [1, [5.0]]),
        values([5], 5, [[[5]]], [[5, 6]]),
    ),
    (
        "$contains an object",
        {"a": {"$contains": {"b": 1}}},
        values([{"b": 1}], [2, {"b": 1.0}]),
        values({"b": 1}, [{"b": 2}], [{"b": 1, "c": 1}], [[{"b": 1}]]),
    ),
    (
        "$contains an empty array",
        {"a": {"$contains": []}},
        values([[]], [1, []]),
        values([], [1], None, [[[]]]),
    ),
    (
        "$contains a huge number",
        {"a": {"$contains": HUGE}},
        values([HUGE]),
        values(HUGE, [1e30], [HUGE + 1]),
    ),
    (
        "$contains in one of several values",
        {"a.b": {"$contains": 1}},
        [{"a": [{"b": 1}, {"b": [1]}]}, {"a": {"b": [0, 1]}}],
        [{"a": [{"b": 1}, {"b": 2}]}, {"a": [1]}],
    ),
    (
        "$startsWith",
        {"a": {"$startsWith": "ab"}},
        values("ab", "abc", ["x", "abx"]),
        [*values("a", "xab", "Ab", "aB", 5, None, [], [["ab"]]), *MISSING],
    ),
    (
        "$startsWith nothing",
        {"a": {"$startsWith": ""}},
        values("", "a", [1, "a"]),
        [*values(1, []), *MISSING],
    ),
    (
        "$startsWith what is no pattern",
        {"a": {"$startsWith": "a."}},
        values("a.b"),
        values("ab", "a"),
    ),
    (
        "$startsWith a null character",
        {"a": {"$startsWith": "a\0"}},
        values("a\0", "a\0b"),
        values("a", "ab"),
    ),
    (
        "$startsWith a smile",
        {"a": {"$startsWith": SMILE}},
        values(SMILE, SMILE + "a"),
        values("\ud7ff", LAST),
    ),
    (
        "$startsWith the last code point",
        {"a": {"$startsWith": LAST}},
        values(LAST, LAST + "a", LAST * 2, LAST * 70),
        values("\uffff", SMILE, "", "a" + LAST),
    ),
    (
        "$startsWith something before the last code point",
        {"a": {"$startsWith": "a" + LAST}},
        values("a" + LAST, "a" + LAST + "b", "a" + LAST * 2),
        values("a", "b", "ab", "a\uffff", "b" + LAST),
    ),
    (
        "$startsWith the end of the basic plane",
        {"a": {"$startsWith": "\uffff"}},
        values("\uffff", "\uffff\uffff", "\uffff" + LAST),
        values("\U00010000", LAST, "\ufffe", ""),
    ),
    (
        "$startsWith before the surrogates",
        {"a": {"$startsWith": "\ud7ff"}},
        values("\ud7ff"),
        values("\ue000"),
    ),
    (
        "$startsWith 63 characters",
        {"a": {"$startsWith": P63}},
        values(P63, P64, P63 + "q", P65 + "x", LONG),
        values(P63[1:], "q" + P63),
    ),
    (
        "$startsWith 64 characters",
        {"a": {"$startsWith": P64}},
        values(P64, P65, P64 + "x", LONG),
        values(P63, P63 + "q", P63 + "qp"),
    ),
    (
        "$startsWith 65 characters",
        {"a": {"$startsWith": P64 + "x"}},
        values(P64 + "x", P64 + "xy", [P64 + "x"]),
        values(P64, P65, P64 + "y", P65 + "x"),
    ),
    (
        "$startsWith more than 65 characters",
        {"a": {"$startsWith": P65 + "xy"}},
        values(P65 + "xy", P65 + "xyz"),
        values(P65 + "x", P65 + "xz", P65, P64 + "xy", LONG),
    ),
    (
        "$startsWith the last code point 64 times",
        {"a": {"$startsWith": LAST * 64}},
        values(LAST * 64, LAST * 65, LAST * 64 + "a"),
        values(LAST * 63, LAST * 63 + "a"),
    ),
    (
        "$startsWith the last code point 65 times",
        {"a": {"$startsWith": LAST * 65}},
        values(LAST * 65, LAST * 66),
        values(LAST * 64, LAST * 64 + "a"),
    ),
    (
        "two operators of text",
        {"a": {"$startsWith": "a", "$contains": "z"}},
        values("az", ["ab", "z"]),
        values("a", "z"),
    ),
]

ELEMENTS = [
    (
        "$elemMatch with operators",
        {"a": {"$elemMatch": {"$gt": 5, "$lt": 8}}},
        values([1, 6], [7.5], [9, 6, 1]),
        [*values(6, [5, 8], [1, 9], ["6"], [], {"b": 6}, [{"b": 6}]), *MISSING],
    ),
    (
        "an element of $elemMatch is like the value of a field",
        {"a": {"$elemMatch": {"$gt": 5, "$lt": 3}}},
        values([[2, 6]], [1, [9, 0]]),
        values([2, 6], [[2], [6]], [[[2, 6]]], [4]),
    ),
    (
        "$elemMatch $eq",
        {"a": {"$elemMatch": {"$eq": 1}}},
        values([1], [[1]], [1.0]),
        values(1, [2], [[[1]]]),
    ),
    (
        "$elemMatch $ne",
        {"a": {"$elemMatch": {"$ne": 1}}},
        values([1, 2], [[]], [None]),
        values([1], [[1]], [], 2),
    ),
    (
        "$elemMatch null",
        {"a": {"$elemMatch": {"$eq": None}}},
        values([None], [1, None]),
        values(None, [], [1]),
    ),
    (
        "$elemMatch $in",
        {"a": {"$elemMatch": {"$in": [1, "x"]}}},
        values([1], [0, "x"]),
        values(1, "x", [2], []),
    ),
    (
        "$elemMatch $nin",
        {"a": {"$elemMatch": {"$nin": [1]}}},
        values([1, 2], [[2]]),
        [*values([1], [], 2), *MISSING],
    ),
    (
        "$elemMatch $exists",
        {"a": {"$elemMatch": {"$exists": True}}},
        values([1], [None]),
        [*values([], 1), *MISSING],
    ),
    (
        "$elemMatch not $exists",
        {"a": {"$elemMatch": {"$exists": False}}},
        [],
        [*values([1], [], 1), *MISSING],
    ),
    (
        "$elemMatch $size",
        {"a": {"$elemMatch": {"$size": 2}}},
        values([[1, 2]], [1, [1, 2]]),
        values([1, 2], [[1]]),
    ),
    (
        "$elemMatch $all",
        {"a": {"$elemMatch": {"$all": [1, 2]}}},
        values([[1, 2]], [[2, 3, 1]]),
        values([1, 2]),
    ),
    (
        "$elemMatch $contains",
        {"a": {"$elemMatch": {"$contains": 1}}},
        values([[1]], [2, [1]]),
        values([1], [[[1]]]),
    ),
    (
        "$elemMatch with text",
        {"a": {"$elemMatch": {"$startsWith": "a", "$contains": "z", "$regex": "y"}}},
        values(["ayz"], ["q", "azy"], [["a", "z", "y"]]),
        values(["a", "z", "y"], "ayz", ["az"], ["yza"]),
    ),
    (
        "$elemMatch with long text",
        {"a": {"$elemMatch": {"$gt": P64 + "b", "$lt": P64 + "d"}}},
        values([P64 + "c"], ["a", P64 + "bx"]),
        values([P64 + "a", P64 + "e"], [P64], P64 + "c"),
    ),
    (
        "$elemMatch in $elemMatch",
        {"a": {"$elemMatch": {"$elemMatch": {"$gt": 5, "$lt": 8}}}},
        values([[6]], [1, [9, 7]], [[[6]]], [[[9, 7]]]),
        values([6], [[5, 8]], [[[[6]]]], [[]], 6),
    ),
    (
        "$elemMatch with a filter in $elemMatch",
        {"a": {"$elemMatch": {"$elemMatch": {"b": 1}}}},
        values([[{"b": 1}]], [1, [2, {"b": [1]}]]),
        values([{"b": 1}], [[[{"b": 1}]]], [[{"b": 2}]]),
    ),
    (
        "$elemMatch with a filter",
        {"a": {"$elemMatch": {"b": 1, "c": {"$gt": 2}}}},
        values([{"b": 1, "c": 3}], [1, {"b": [1], "c": 9}]),
        [*values([{"b": 1}, {"c": 3}], {"b": 1, "c": 3}, [[{"b": 1, "c": 3}]], [], [1]), *MISSING],
    ),
    (
        "$elemMatch with a path",
        {"a": {"$elemMatch": {"b.c": 1}}},
        values([{"b": [{"c": 1}]}], [{"b.c": 1}]),
        values([{"c": 1}]),
    ),
    (
        "$elemMatch with a missing field",
        {"a": {"$elemMatch": {"b": {"$exists": False}}}},
        values([{}], [{"b": 1}, {"c": 1}]),
        [*values([{"b": 1}], [], [1], {}), *MISSING],
    ),
    (
        "$elemMatch with an object for a value",
        {"a": {"$elemMatch": {"b": {"c": 1}}}},
        values([{"b": {"c": 1}}]),
        values([{"b": {"c": 1, "d": 1}}], [{"c": 1}]),
    ),
    (
        "$elemMatch $eq an object",
        {"a": {"$elemMatch": {"$eq": {"b": 1}}}},
        values([{"b": 1}], [[{"b": 1}]]),
        values([{"b": 1, "c": 1}], {"b": 1}),
    ),
    (
        "$elemMatch {}",
        {"a": {"$elemMatch": {}}},
        values([{}], [1, {"b": 1}]),
        [*values([], [1], [[]], {}, [[{}]]), *MISSING],
    ),
    (
        "$elemMatch in an array of objects",
        {"a.b": {"$elemMatch": {"$gt": 5, "$lt": 8}}},
        [{"a": [{"b": 6}, {"b": [6]}]}, {"a": {"b": [1, 7]}}],
        [{"a": [{"b": 6}]}, {"a": [{"b": [5]}, {"b": [8]}]}, {"a": [6]}],
    ),
    (
        "$elemMatch with $or of operators",
        {"a": {"$elemMatch": {"$or": [{"$gt": 8}, {"$lt": 2}]}}},
        values([9], [5, 1], [[1]]),
        values([5], [], 9, [{"b": 9}]),
    ),
    (
        "$elemMatch with $or of an operator and a value",
        {"a": {"$elemMatch": {"$or": ["x", {"$gt": 8}]}}},
        values([9], ["x"], [1, "x"]),
        values([5], "x", ["y"]),
    ),
    (
        "$elemMatch with $and of operators",
        {"a": {"$elemMatch": {"$and": [{"$gt": 2}, {"$lt": 8}]}}},
        values([5], [[1, 9]]),
        values([1, 9], 5, [8]),
    ),
    (
        "$elemMatch with $nor of operators",
        {"a": {"$elemMatch": {"$nor": [{"$gt": 2}]}}},
        values([1], [3, 1], ["x"], [{}], [[]]),
        values([3], [], 1, [[3]]),
    ),
    (
        "$elemMatch with $not of operators",
        {"a": {"$elemMatch": {"$not": {"$gt": 2}}}},
        values([1], [3, 1], [{}], [None]),
        [*values([3], [], 1), *MISSING],
    ),
    (
        "$elemMatch with logic beside an operator",
        {"a": {"$elemMatch": {"$gt": 2, "$or": [5, 6]}}},
        values([5], [1, 6]),
        values([4], [2], 5, [7]),
    ),
    (
        "$elemMatch with $or of filters",
        {"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}},
        values([{"b": 1}], [{"b": 2}, {"c": 1}]),
        values([{"b": 2}], [1], {"b": 1}, []),
    ),
    (
        "$elemMatch with $and of filters",
        {"a": {"$elemMatch": {"$and": [{"b": 1}, {"c": 1}]}}},
        values([{"b": 1, "c": 1}]),
        values([{"b": 1}, {"c": 1}], [{"b": 1}]),
    ),
    (
        "$elemMatch with $nor of filters",
        {"a": {"$elemMatch": {"$nor": [{"b": 1}]}}},
        values([{}], [{"b": 2}], [{"b": 1}, {"c": 1}]),
        values([{"b": 1}], [1], [], {"b": 2}),
    ),
    (
        "$elemMatch with $not of a filter",
        {"a": {"$elemMatch": {"$not": {"b": 1}}}},
        values([{}], [{"b": 2}], [{"b": 1}, {}]),
        [*values([{"b": 1}], [1], [], [None]), *MISSING],
    ),
    (
        "$elemMatch with a field deep in logic",
        {"a": {"$elemMatch": {"$not": {"$and": [{}, {"$or": [{"b": 1}]}]}}}},
        values([{}], [{"b": 2}]),
        values([{"b": 1}], [1], []),
    ),
    (
        "$elemMatch with an operator deep in logic",
        {"a": {"$elemMatch": {"$not": {"$and": [{"$or": [{"$eq": 1}]}]}}}},
        values([2], [{}], [1, 2]),
        values([1], [[1]], [], 2),
    ),
    (
        "$elemMatch with $and []",
        {"a": {"$elemMatch": {"$and": []}}},
        values([{}], [{"b": 1}]),
        values([1], [], {}, [[]]),
    ),
    (
        "$elemMatch with $or []",
        {"a": {"$elemMatch": {"$or": []}}},
        [],
        [*values([{}], [1], []), *MISSING],
    ),
    (
        "$elemMatch with $nor []",
        {"a": {"$elemMatch": {"$nor": []}}},
        values([{}], [1, {}]),
        values([1], [], {}),
    ),
    ("$elemMatch with $not {}", {"a": {"$elemMatch": {"$not": {}}}}, [], values([{}], [1], [], {})),
    (
        "$elemMatch with $and [{}]",
        {"a": {"$elemMatch": {"$and": [{}]}}},
        values([{}], [{"b": 1}]),
        values([1], []),
    ),
]

LOGIC = [
    (
        "$not on a field",
        {"a": {"$not": {"$gt": 5}}},
        [*values(5, "x", None, [], [1]), *MISSING],
        values(6, [1, 6]),
    ),
    (
        "$not with a value",
        {"a": {"$not": 5}},
        [*values(6, "5", [[5]]), *MISSING],
        values(5, 5.0, [5]),
    ),
    ("$not null", {"a": {"$not": None}}, [*values(1, []), *MISSING], values(None, [None])),
    (
        "$not with an object",
        {"a": {"$not": {"b": 1}}},
        [*values({"b": 2}, 1, {}), *MISSING],
        values({"b": 1}, [{"b": 1}]),
    ),
    (
        "$not with an array",
        {"a": {"$not": [1]}},
        [*values([2], 1, []), *MISSING],
        values([1], [[1]]),
    ),
    (
        "$not with two operators",
        {"a": {"$not": {"$gt": 5, "$lt": 9}}},
        [*values(5, 9, "x"), *MISSING],
        values(6, [1, 9, 7]),
    ),
    ("$not $ne", {"a": {"$not": {"$ne": 5}}}, [*values(5, [5, 6]), *MISSING], values(6, None, [])),
    ("$not $exists", {"a": {"$not": {"$exists": True}}}, MISSING, values(1, None, [])),
    ("$not $in []", {"a": {"$not": {"$in": []}}}, [*values(1, None), *MISSING], []),
    (
        "$not $regex",
        {"a": {"$not": {"$regex": "b$"}}},
        [*values("ba", 1, [], P64 + "ba"), *MISSING],
        values("b", P64 + "ab"),
    ),
    (
        "$not of an object is a value",
        {"a": {"$not": {}}},
        [*values(1, [], None), *MISSING],
        values({}, [{}]),
    ),
    (
        "$not $not",
        {"a": {"$not": {"$not": {"$gt": 5}}}},
        values(6, [6]),
        [*values(5, "x", []), *MISSING],
    ),
    (
        "$not of a long text",
        {"a": {"$not": {"$eq": P64 + "x"}}},
        [*values(P64 + "y", P64), *MISSING],
        values(P64 + "x", [P64 + "x"]),
    ),
    (
        "$not of a long range",
        {"a": {"$not": {"$gt": P64 + "m"}}},
        [*values(P64 + "m", P64 + "a", P64, 5), *MISSING],
        values(P64 + "n", [P64, P64 + "n"]),
    ),
    (
        "$not of an array of objects",
        {"a.b": {"$not": {"$eq": 1}}},
        [{"a": [{"b": 2}]}, {"a": []}, {"a": 1}, {}, None],
        [{"a": [{"b": 2}, {"b": 1}]}, {"a": {"b": 1}}],
    ),
    (
        "$not $elemMatch",
        {"a": {"$not": {"$elemMatch": {"b": 1}}}},
        [*values([{"b": 2}], [], {"b": 1}, 1), *MISSING],
        values([{"b": 1}], [1, {"b": 1}]),
    ),
    (
        "$and on a field",
        {"a": {"$and": [{"$gt": 5}, {"$lt": 9}]}},
        values(6, [1, 9, 10]),
        [*values(5, 9, "x"), *MISSING],
    ),
    (
        "$and with values",
        {"a": {"$and": [1, 2]}},
        values([1, 2], [2, 3, 1]),
        values(1, 2, [1], [[1, 2]]),
    ),
    ("$and [] on a field", {"a": {"$and": []}}, [*values(1, None, []), *MISSING], []),
    (
        "$or on a field",
        {"a": {"$or": [{"$gt": 8}, {"$lt": 2}]}},
        values(9, 1, [5, 1]),
        [*values(5, "x", None), *MISSING],
    ),
    (
        "$or with values",
        {"a": {"$or": [1, "x", None, {"b": 1}, [2]]}},
        values(1, "x", None, {"b": 1}, [2], [1]),
        [*values(2, "y", {"b": 2}, []), *MISSING],
    ),
    ("$or [] on a field", {"a": {"$or": []}}, [], [*values(1, None, []), *MISSING]),
    (
        "$or with the missing",
        {"a": {"$or": [{"$exists": False}, {"$gt": 5}]}},
        [*values(6), *MISSING],
        values(5, None),
    ),
    (
        "$nor on a field",
        {"a": {"$nor": [{"$gt": 8}, 5]}},
        [*values(6, "x", None, []), *MISSING],
        values(9, 5, [5], [1, 9]),
    ),
    ("$nor [] on a field", {"a": {"$nor": []}}, [*values(1, None, []), *MISSING], []),
    (
        "logic in logic on a field",
        {
            "a": {
                "$or": [
                    {"$and": [{"$gt": 1}, {"$not": {"$gte": 4}}]},
                    {"$nor": [{"$exists": True}]},
                ]
            }
        },
        [*values(2, 3.5), *MISSING],
        values(1, 4, "x", None, [2, 5]),
    ),
    (
        "logic beside operators on a field",
        {"a": {"$gt": 1, "$or": [{"$lt": 3}, 7], "$not": {"$eq": 2.5}}},
        values(2, 7),
        [*values(1, 2.5, 5, [2, 2.5]), *MISSING],
    ),
    (
        "$and",
        {"$and": [{"a": 1}, {"b": 2}]},
        [{"a": 1, "b": 2}, {"a": [1], "b": [2]}],
        [{"a": 1}, {"b": 2}, {"a": 2, "b": 1}, {}, None],
    ),
    ("$and []", {"$and": []}, [*values(1, None, []), *MISSING], []),
    ("$and with one", {"$and": [{"a": 1}]}, values(1), [*values(2), *MISSING]),
    ("$and with the empty filter", {"$and": [{}, {"a": 1}]}, values(1), [*values(2), *MISSING]),
    (
        "$or",
        {"$or": [{"a": 1}, {"b": 2}]},
        [{"a": 1}, {"b": 2}, {"a": 1, "b": 2}],
        [{"a": 2, "b": 1}, {}, None],
    ),
    ("$or []", {"$or": []}, [], [*values(1, None, []), *MISSING]),
    ("$or with the empty filter", {"$or": [{"a": 1}, {}]}, [*values(1, 2), *MISSING], []),
    (
        "$or on one field",
        {"$or": [{"a": {"$lt": 2}}, {"a": {"$gt": 8}}]},
        values(1, 9, [5, 9]),
        [*values(5, "1"), *MISSING],
    ),
    (
        "$nor",
        {"$nor": [{"a": 1}, {"c": 2}]},
        [*values(2, None, []), *MISSING],
        [{"a": 1}, {"c": 2}, {"a": 1, "c": 2}],
    ),
    ("$nor []", {"$nor": []}, [*values(1, None, []), *MISSING], []),
    ("$nor with the empty filter", {"$nor": [{}]}, [], [*values(1, None), *MISSING]),
    ("$not", {"$not": {"a": 1}}, [*values(2, "1", None, []), *MISSING], values(1, [1, 2])),
    (
        "$not of two fields",
        {"$not": {"a": 1, "b": 2}},
        [{"a": 1}, {"b": 2}, {}, None],
        [{"a": 1, "b": 2}],
    ),
    ("$not {}", {"$not": {}}, [], [*values(1, None), *MISSING]),
    (
        "$not of $ne",
        {"$not": {"a": {"$ne": 1}}},
        [*values(1, [1, 2]), *MISSING],
        values(2, None, []),
    ),
    (
        "$not of a long text in place of a field",
        {"$not": {"a": P64 + "x"}},
        [*values(P64 + "y", P64, [P65]), *MISSING],
        values(P64 + "x", [1, P64 + "x"]),
    ),
    (
        "logic in logic",
        {
            "$or": [
                {"$and": [{"a": 1}, {"$nor": [{"b": 1}, {"b": 2}]}]},
                {"$not": {"c": {"$exists": False}}},
            ]
        },
        [{"a": 1}, {"a": 1, "b": 3}, {"c": None}, {"a": 2, "c": 1}],
        [{"a": 1, "b": 1}, {"a": [1], "b": [3, 2]}, {"b": 1}, {}, None],
    ),
    (
        "logic with what is looked up in the items",
        {"$or": [{"a": {"b": 1}}, {"a": {"$startsWith": P65}}, {"a": {"$elemMatch": {"c": 1}}}]},
        values({"b": 1}, LONG, [{"c": 1}]),
        [*values({"b": 1, "c": 1}, P64, {"c": 1}, [{"b": 2}]), *MISSING],
    ),
    (
        "what is looked up in the items after the rest",
        {"b": {"$gt": 0}, "a": {"$not": {"$eq": {"b": 1}}}},
        [{"b": 1, "a": {"b": 2}}, {"b": 1}, {"b": 1, "a": [1]}],
        [{"b": 1, "a": {"b": 1}}, {"b": 0, "a": 1}, {"a": 1}],
    ),
]

DATES = [
    (
        "a datetime",
        {"a": LEAP},
        values(LEAP, LEAP_LATER, LEAP_EAST, LEAP_MS, float(LEAP_MS), [LEAP]),
        [*values(LEAP_NEXT, LEAP_MS + 1, LEAP_MS + 0.5, str(LEAP_MS), BEFORE_1970), *MISSING],
    ),
    (
        "a datetime is a number",
        {"a": LEAP_MS},
        values(LEAP, LEAP_LATER, LEAP_EAST),
        values(LEAP_NEXT),
    ),
    (
        "$gt a datetime",
        {"a": {"$gt": LEAP}},
        values(LEAP_NEXT, LEAP_MS + 0.5),
        values(LEAP, LEAP_LATER, "2025"),
    ),
    (
        "$gte a datetime",
        {"a": {"$gte": LEAP_LATER}},
        values(LEAP, LEAP_NEXT, LEAP_MS),
        values(LEAP_MS - 1),
    ),
    (
        "$lt a datetime",
        {"a": {"$lt": LEAP_NEXT}},
        values(LEAP, LEAP_LATER, BEFORE_1970, 0),
        values(LEAP_NEXT),
    ),
    (
        "$lte a datetime",
        {"a": {"$lte": LEAP_EAST}},
        values(LEAP, LEAP_LATER),
        values(LEAP_NEXT, None),
    ),
    ("before 1970, rounded down", {"a": -1}, values(BEFORE_1970), values(0, -2, -0.001)),
    (
        "below 1970",
        {"a": {"$lt": dt.datetime(1970, 1, 1, tzinfo=UTC)}},
        values(BEFORE_1970, -1),
        values(0, 1),
    ),
    (
        "the first and the last year",
        {"a": {"$in": [-62_135_596_800_000, 253_402_300_799_999]}},
        values(dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC)),
        values(LEAP, BEFORE_1970),
    ),
    (
        "$in with datetimes",
        {"a": {"$in": [LEAP, None]}},
        values(LEAP_EAST, None, [LEAP_MS]),
        values(LEAP_NEXT),
    ),
    (
        "$nin with datetimes",
        {"a": {"$nin": [LEAP]}},
        [*values(LEAP_NEXT), *MISSING],
        values(LEAP_LATER),
    ),
    (
        "$all with datetimes",
        {"a": {"$all": [LEAP, 1]}},
        values([1, LEAP_LATER]),
        values(LEAP, [LEAP_NEXT, 1]),
    ),
    (
        "$ne a datetime",
        {"a": {"$ne": LEAP}},
        values(LEAP_NEXT, "x"),
        [*values(LEAP_EAST, LEAP_MS), *MISSING],
    ),
    (
        "$contains a datetime",
        {"a": {"$contains": LEAP}},
        values([1, LEAP_LATER], [LEAP_MS]),
        values(LEAP, []),
    ),
    ("$not a datetime", {"a": {"$not": LEAP}}, [*values(LEAP_NEXT), *MISSING], values(LEAP_LATER)),
    (
        "datetimes inside values",
        {"a": {"b": [LEAP]}},
        values({"b": [LEAP_EAST]}, {"b": [LEAP_MS]}),
        values({"b": LEAP}, {"b": [LEAP_NEXT]}),
    ),
    (
        "datetimes in arrays of objects",
        {"a.b": {"$gt": LEAP}},
        [{"a": [{"b": BEFORE_1970}, {"b": LEAP_NEXT}]}],
        [{"a": [{"b": LEAP_LATER}]}, {"a": LEAP_NEXT}],
    ),
    (
        "$elemMatch with datetimes",
        {"a": {"$elemMatch": {"$gte": LEAP, "$lt": LEAP_NEXT}}},
        values([0, LEAP_LATER]),
        values(LEAP, [BEFORE_1970, LEAP_NEXT]),
    ),
]

MIXED_VALUES = [
    *(None, True, False, 0, 1, 20, 20.0, -1, 0.5, BIG + 1, HUGE, 1e300),
    *("", "20", "true", "null", "a", P64 + "x", LAST, LEAP),
    *([], [1], [[1]], ["a", 1, None, True], {}, {"b": 1}, [{"b": 1}]),
]
MIXED = [
    (
        "all types: numbers",
        {"a": {"$gte": -(10**400)}},
        values(0, 1, 20, [1], LEAP, ["a", 1]),
        values(True, "20", [[1]]),
    ),
    (
        "all types: text",
        {"a": {"$gte": ""}},
        values("", "20", "a", ["a", 1]),
        values(20, None, [], {}, True),
    ),
    (
        "all types: arrays",
        {"a": {"$elemMatch": {"$exists": True}}},
        values([1], [[1]], [{"b": 1}]),
        values([], 1, {}),
    ),
    ("all types: everything", {"a": {"$exists": True}}, values(*MIXED_VALUES), MISSING),
    ("all types: nothing", {"a": {"$eq": "no such value"}}, [], [*values(*MIXED_VALUES), *MISSING]),
    (
        "all types: all but null",
        {"a": {"$ne": None}},
        values(*MIXED_VALUES[1:12], [], {}),
        values(None, [None]),
    ),
]

CASES = WHOLE + FIELDS + EQUALITY + RANGES + LISTS + TEXTS + ELEMENTS + LOGIC + DATES + MIXED
