"""The figures about keys as Markdown tables: who holds the key, and all else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from filter_table import table

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = ("what", "figure", "beside it")
REWRAPPED = ("key goes from", "to", "opening and one commit", "the key managers alone")


def as_markdown(f: dict[str, Any]) -> str:
    """Two tables, and what they are of."""
    text = f"Keys of {f['rows']:,} x {f['dimension']} items with metadata and a graph"
    rewrap = f["rewrap"]
    hands = f"The same key in other hands, {rewrap['rows']:,} items{wrong(rewrap)}"
    pairs = [
        (
            each["from"],
            each["to"],
            f"{each['commit_ms']:,.1f} ms",
            f"{each['managers_ms']:,.2f} ms",
        )
        for each in rewrap["pairs"]
    ]
    return f"{text}\n\n{table(OTHERS, others(f))}\n{hands}\n\n{table(REWRAPPED, pairs)}"


def others(f: dict[str, Any]) -> list[tuple[str, ...]]:
    """All but who holds the key."""
    rekey, compact, refused = f["rekey"], f["compact"], f["wrong"]
    kept = "unchanged" if refused["unchanged"] else "CHANGED"
    return [
        (
            f"rekey of all items, file of {mb(rekey['file_mb'])}",
            f"{rekey['s']:.2f} s, {rekey['vectors_mb_s']:,.0f} MB/s of vectors{wrong(rekey)}",
            f"{rekey['ratio']:.1f} times a plain copy with fsync ({rekey['copy_s']:.2f} s)",
        ),
        (
            f"compact after deleting {compact['deleted']:,} items",
            f"{compact['s']:.2f} s{wrong(compact)}",
            f"file: {mb(compact['before_mb'])} before, {mb(compact['after_mb'])} after",
        ),
        (
            "a wrong key is refused",
            f"{refused['us']:,.0f} µs",
            f"{refused['pages']} pages opened, file {kept}",
        ),
        ("the right key: open and close", f"{refused['right_us']:,.0f} µs", ""),
    ]


def mb(value: float) -> str:
    return f"{value:,.1f} MB"


def wrong(each: Mapping[str, Any]) -> str:
    return "" if each["right"] else ", WRONG"
