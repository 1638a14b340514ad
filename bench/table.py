"""The figures of a run as a Markdown table: ours, and each rival's with the ratio of ours to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import filter_table
import key_table
import knob
from common import EF_CONSTRUCTION, THREADS, K, M
from writes import PHASES

if TYPE_CHECKING:
    from collections.abc import Mapping

Cell = tuple[float | None, str]
"""A number, for ratios, and what the table shows. None stands for no number."""
Figures = dict[str, Any]
MEMORY = {"anonymous": "anonymous", "files": "mapped files", "peak": "peak"}
SUFFIXES = {"ours": "", "sealed": ", `cache_bytes=0`"}
"""The two ways to open an index."""


def as_markdown(f: Figures) -> str:
    """The whole table under a head that says what was measured; those about filters and keys."""
    titles = f["titles"]
    names = [title for title in titles.values() for title in (title, "ratio")]
    columns = ["what", "cyborg_embedded", *names]
    lines = [
        *loading(f),
        *searching(f),
        *(cold(f) if "cold" in f else []),
        ("file, graph included; raw data", (f["file_mb"], mb(f["file_mb"])), raw(f)),
        *(memory(f["memory"]) if f.get("memory") else []),
        *(writes(f["writes"]) if "writes" in f else []),
    ]
    rows = [columns, ["---"] * len(columns)]
    rows += [line(what, ours, theirs, list(titles)) for what, ours, theirs in lines]
    table = head(f) + "\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    others = {
        "knob": knob.as_markdown,
        "filters": filter_table.as_markdown,
        "keys": key_table.as_markdown,
    }
    return table + "".join(f"\n{show(f[part])}" for part, show in others.items() if part in f)


def head(f: Figures) -> str:
    """What was measured, against whom, and who is missing."""
    versions = ", ".join(f"{f['titles'][key]} {each}" for key, each in f["versions"].items())
    text = (
        f"{f['rows']:,} x {f['dimension']} ({f['data']}, {f['metric']}), "
        f"{f['queries']:,} queries, top {K}, M={M}, ef_construction={EF_CONSTRUCTION}, "
        f"{THREADS} threads for builds and batches, one for single queries\n"
        f"Beside {versions}; ratio: ours to theirs, below 1 is better."
    )
    if f["missing"]:
        text += f"\nLeft out, since not installed: {', '.join(f['missing'])}."
    return text


def line(what: str, ours: Cell, theirs: Mapping[str, Cell], keys: list[str]) -> list[str]:
    """One row of the table."""
    cells = [what, ours[1]]
    for key in keys:
        value, text = theirs.get(key, (None, ""))
        cells += [text, ratio(ours[0], value)]
    return cells


def ratio(ours: float | None, theirs: float | None) -> str:
    if not ours or not theirs:
        return ""
    return f"{ours / theirs:.2f}" if ours >= theirs / 10 else f"1/{theirs / ours:.1f}"


def seconds(value: float) -> Cell:
    return value, f"{value:.2f} s"


def mb(value: float) -> str:
    return f"{value:,.1f} MB"


def loading(f: Figures) -> list[Any]:
    """Writing, building, and queries before and after."""
    built = f["build_s"]
    theirs = {key: seconds(built[key]) for key in f["titles"]}
    rate = f"{f['upsert_s']:.2f} s ({f['rows'] / f['upsert_s']:,.0f} rows/s)"
    default = f["at"]["default"]
    found = {key: (None, at_recall(default[key])) for key in f["titles"]}
    return [
        ("upsert, durable and queryable; rivals: build", (f["upsert_s"], rate), theirs),
        ("all rows in the graph", seconds(f["optimize_s"]), theirs),
        ("recall@10 before `optimize`", (None, f"{f['exact_recall']:.4f}"), {}),
        ("recall@10 after it", (None, f"{f['recall']:.4f}"), found),
        ("recall@10 after reopening", (None, f"{f['reopened_recall']:.4f}"), {}),
    ]


def at_recall(level: Figures) -> str:
    if level["us"] is None:
        return f"{level['recall']:.4f} at most"
    effort = f"ef {level['ef']}" if level["ef"] else "default ef"
    return f"{level['recall']:.4f} ({effort})"


def timed(level: Figures, figure: str = "us") -> Cell:
    """Microseconds, and, with the median, the recall and the effort they were measured at."""
    if level["us"] is None:
        return None, f"not reached: {at_recall(level)}"
    at = f" at {at_recall(level)}" if figure == "us" else ""
    return level[figure], f"{level[figure]:,.0f} µs{at}"


def searching(f: Figures) -> list[Any]:
    """Single queries and batches at the recalls."""
    before = f"{f['exact_p50_us']:,.0f} µs"
    lines = [("one query, p50, before `optimize`", (None, before), {})]
    for who, suffix in kinds(f["at"]["default"]):
        for name, level in f["at"].items():
            what = ", at that recall" if name == "default" else f", recall {name}"
            theirs = {key: timed(level[key]) for key in f["titles"]}
            if name == "default" and who != "ours":
                # Its recall is its own, and nobody was measured at that.
                what, theirs = "", {}
            lines.append((f"one query, p50{what}{suffix}", timed(level[who]), theirs))
            if who == "ours":
                for figure, title in (("mean_us", "mean"), ("p95_us", "p95")):
                    theirs = {key: timed(level[key], figure) for key in f["titles"]}
                    ours = timed(level[who], figure)
                    lines.append((f"one query, {title}{what}", ours, theirs))
    for name in ("default", "0.95"):
        level = f["at"][name]
        what = "at that recall" if name == "default" else f"recall {name}"
        theirs = {key: batch(level[key], f["queries"]) for key in f["titles"]}
        ours = batch(level["ours"], f["queries"])
        lines.append((f"{f['queries']:,} queries at once, {what}", ours, theirs))
    return lines


def kinds(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those of our two ways that there are figures for, and what to add to the name of a line."""
    return [(who, suffix) for who, suffix in SUFFIXES.items() if who in figures]


def batch(level: Figures, queries: int) -> Cell:
    """Seconds, and queries a second."""
    if "batch_s" not in level:
        return None, "not reached"
    return level["batch_s"], f"{level['batch_s']:.3f} s ({queries / level['batch_s']:,.0f}/s)"


def cold(f: Figures) -> list[Any]:
    """New processes."""
    ours, theirs = f["cold"]["ours"], f["cold"]["hnswlib"]

    def each(what: str, part: str) -> Any:
        a, b = ours[part], theirs[part]
        return f"new process: {what}", (a, f"{a:.0f} ms"), {"hnswlib": (b, f"{b:.0f} ms")}

    return [each("open and first answer", "first_ms"), each("that and 100 more", "total_ms")]


def raw(f: Figures) -> dict[str, Cell]:
    """The raw data stand where hnswlib's figures do, which has no texts."""
    return {"hnswlib": (f["raw_mb"], mb(f["raw_mb"]))}


def memory(taken: dict[str, dict[str, float]]) -> list[Any]:
    """What an open index takes above an idle interpreter."""
    lines = []
    for name, what in MEMORY.items():
        b = taken["hnswlib"][name]
        # A megabyte or two of nothing in particular is no base for a ratio.
        theirs = {"hnswlib": (None if name == "files" else b, mb(b))}
        for who, suffix in kinds(taken):
            a = taken[who][name]
            lines.append((f"memory after 1,000 queries, {what}{suffix}", (a, mb(a)), theirs))
    return lines


def writes(figures: Figures) -> list[Any]:
    """Queries while another thread writes."""
    return [
        (f"p50 / p99 / max of a query, {what}", (None, spread(figures[phase])), {})
        for phase, what in PHASES.items()
    ]


def spread(times: Figures) -> str:
    if not times["queries"]:
        return "none was asked"
    parts = (f"{times[name] / 1000:,.2f}" for name in ("p50_us", "p99_us", "max_us"))
    return f"{' / '.join(parts)} ms"
