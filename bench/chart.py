"""Recall against the time of a query, as SVG and PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LEAST_RECALL, ENOUGH = 0.8, 0.999
"""What is shown: a curve ends at the first point beyond the latter."""
STYLES = {
    "ours": ("cyborg_embedded", "#c0392b", "o-"),
    "sealed": ("cyborg_embedded, cache_bytes=0", "#e59866", "o--"),
    "hnswlib": ("hnswlib, plaintext", "#1f618d", "s-"),
    "usearch": ("usearch bf16, plaintext", "#148f77", "^-"),
    "faiss": ("faiss HNSW fp16, plaintext", "#7d6608", "v-"),
}


def draw(curves: dict[str, list[dict[str, float]]], title: str, folder: Path) -> list[Path]:
    """The files that were written; none without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
        from matplotlib.ticker import ScalarFormatter
    except ImportError:
        return []
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for key, points in curves.items():
        label, colour, style = STYLES[key]
        shown = worth_showing(points)
        axes.plot(
            [each["recall"] for each in shown],
            [each["us"] for each in shown],
            style,
            label=label,
            color=colour,
            markersize=4,
        )
    axes.set_xlim(LEAST_RECALL, 1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xlabel("recall@10 against exact search")
    axes.set_ylabel("one query, one thread, p50, µs (lower is better)")
    axes.set_title(title)
    axes.grid(which="both", alpha=0.25)
    axes.legend()
    files = [folder / f"curves.{kind}" for kind in ("svg", "png")]
    for file in files:
        figure.savefig(file, dpi=150)
    plt.close(figure)
    return files


def worth_showing(points: list[dict[str, float]]) -> list[dict[str, float]]:
    """Those within the axes, without the ones that only get slower."""
    enough = next((i for i, each in enumerate(points) if each["recall"] >= ENOUGH), len(points))
    return [each for each in points[: enough + 1] if each["recall"] >= LEAST_RECALL]
