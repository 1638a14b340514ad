"""JSON values as callers give them: how deep they are, and what stands for a datetime."""

from __future__ import annotations

import datetime as dt

__all__ = ["deeper_than", "milliseconds"]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
MILLISECOND = dt.timedelta(milliseconds=1)


def milliseconds(moment: dt.datetime) -> int:
    """Milliseconds since 1970 of a datetime with a time zone, rounded down."""
    return (moment - EPOCH) // MILLISECOND


def deeper_than(levels: int, value: object) -> bool:
    """Whether more than so many objects and arrays are nested in `value`, itself included."""
    inside: list[object] = [value]
    for _ in range(levels + 1):
        nested = [each for each in inside if isinstance(each, (dict, list, tuple))]
        inside = []
        for each in nested:
            inside.extend(each.values() if isinstance(each, dict) else each)
    return bool(nested)
