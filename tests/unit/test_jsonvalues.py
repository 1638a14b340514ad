"""Datetimes as milliseconds, and how deep a value is."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.jsonvalues import deeper_than, milliseconds

UTC = dt.timezone.utc
EAST, WEST = dt.timezone(dt.timedelta(hours=2)), dt.timezone(-dt.timedelta(hours=23))


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        (dt.datetime(1970, 1, 1, tzinfo=UTC), 0),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 999, tzinfo=UTC), 0),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), 1),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), -1),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 998_999, tzinfo=UTC), -2),
        (dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC), 1_000_000_000_000),
        (dt.datetime(2001, 9, 9, 3, 46, 40, tzinfo=EAST), 1_000_000_000_000),
        (dt.datetime(1, 1, 1, tzinfo=UTC), -62_135_596_800_000),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=WEST), 253_402_383_599_999),
    ],
)
def test_milliseconds(moment, wanted):
    """Whole milliseconds since 1970, rounded down, of any time zone, exactly."""
    assert milliseconds(moment) == wanted
    assert type(milliseconds(moment)) is int


zones = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones), st.datetimes(timezones=zones))
def test_the_order_of_moments(one, other):
    """Moments compare as their milliseconds do, but for those within the same one."""
    if one <= other:
        assert milliseconds(one) <= milliseconds(other)
    if milliseconds(one) < milliseconds(other):
        assert one < other


def nested(levels, kind):
    """A value of so many levels of one kind."""
    value = 1
    for _ in range(levels):
        value = {"list": [value], "dict": {"a": value}, "tuple": (0, value)}[kind]
    return value


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
@pytest.mark.parametrize("levels", [0, 1, 2, 31, 32, 33, 500])
def test_depth(kind, levels):
    """Each object and array counts as a level, the outermost too."""
    value = nested(levels, kind)
    assert not deeper_than(levels, value)
    assert not deeper_than(levels + 1, value)
    if levels:
        assert deeper_than(levels - 1, value)
    assert deeper_than(levels, {"shallow": 1, "deep": value})
    assert deeper_than(levels, [1, "text", value, None])


@pytest.mark.parametrize("value", [[], {}, [[], []], {"a": {}}])
def test_empty_ones_count(value):
    """An empty object or array is a level."""
    levels = 2 if value else 1
    assert deeper_than(levels - 1, value)
    assert not deeper_than(levels, value)


def test_what_is_no_level():
    """Text, numbers, None and other objects are none."""
    for value in ("[[[]]]", 1, None, 1.5, b"[", {1, 2}, object()):
        assert not deeper_than(0, value)
        assert not deeper_than(1, [value])


def test_a_loop_ends():
    """Of something that contains itself it is found out too."""
    loop = {}
    loop["a"] = [loop]
    assert deeper_than(32, loop)
