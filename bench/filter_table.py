"""The figures about filters as Markdown tables: queries with each, and all else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from common import K

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUERIED = (
    "filter",
    "items",
    "share",
    "one query, p50",
    "without",
    "ratio",
    f"recall@{K}",
    f"min({K}, items) found",
    "by",
)
FIRST = ("new process: filter", "open", "first query", "second query")
OTHERS = ("what", "time")


def as_markdown(f: dict[str, Any]) -> str:
    """Three tables, and what the first of them is of."""
    text = (
        f"Queries with a filter, by turns with ones without; {f['rows']:,} items, "
        f"{f['queries']:,} queries, top {K} with metadata, default effort"
    )
    tables = (
        table(QUERIED, [query(each, f["rows"]) for each in f["queried"]]),
        table(FIRST, [first(each) for each in f["first"]]),
        table(OTHERS, others(f)),
    )
    return "\n".join((f"{text}\n", *tables))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def query(each: dict[str, Any], rows: int) -> tuple[str, ...]:
    return (
        shown(each["filters"]),
        f"{each['matching']:,}",
        f"{100 * each['matching'] / rows:.2g} %",
        f"{each['us']:,.0f} µs",
        f"{each['plain_us']:,.0f} µs",
        f"{each['us'] / each['plain_us']:.2f}",
        "" if each["recall"] is None else f"{each['recall']:.4f}",
        "always" if each["complete"] else "NOT ALWAYS",
        ways(each["strategies"]),
    )


def shown(filters: Any) -> str:
    return "none" if filters is None else f"`{json.dumps(filters)}`"


def ways(strategies: Mapping[str, int]) -> str:
    """The one strategy, or each with its number of queries."""
    if len(strategies) == 1:
        return next(iter(strategies))
    return ", ".join(f"{name} {count:,}" for name, count in strategies.items())


def first(each: dict[str, Any]) -> tuple[str, ...]:
    by = each["strategies"]
    return (
        shown(each["filters"]),
        f"{each['open_ms']:,.0f} ms",
        f"{each['first_ms']:,.1f} ms by {by[0]}",
        f"{each['second_ms']:,.1f} ms by {by[1]}",
    )


def others(f: dict[str, Any]) -> list[tuple[str, str]]:
    """All but single queries."""
    batch, updated = f["batch"], f["updated"]
    what = f"{f['queries']:,} queries at once, {shown(batch['filters'])}"
    lines = [
        (what, f"{batch['us']:,.0f} µs each by {batch['plan']['strategy']}"),
        (f"{f['queries']:,} queries at once without", f"{batch['plain_us']:,.0f} µs each"),
    ]
    for each in f["ordered"]:
        what = f"first {each['items']} of all items by `{each['field']}`"
        lines.append((f"{what}, first call of a handle", f"{each['first_ms']:,.1f} ms"))
        lines.append((f"{what}, p50 after it", f"{each['ms']:,.2f} ms{wrong(each)}"))
    for name in ("together", "scattered"):
        what = f"metadata of {updated['items']:,} items upserted, {name}"
        each = updated[name]
        lines.append((what, f"{each['ms']:,.1f} ms ({each['rows_s']:,.0f} rows/s)"))
        what = f"first query after it, {shown(updated['filters'])}"
        lines.append((what, f"{each['first_ms']:,.1f} ms"))
    brought = f"{updated['to_do']:,}; {updated['new_rows']:,}{wrong(updated)}"
    lines.append(("items that the graph then lacks; new rows", brought))
    return lines


def wrong(each: dict[str, Any]) -> str:
    return "" if each["right"] else ", WRONG"
