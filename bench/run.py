"""Measure the library beside plaintext graphs, in one run on one machine.

    python bench/run.py [--data PATH] [--rows N] [--queries N] [--repeat N] [--rounds N]
                        [--skip PART ...] [--out FOLDER]

Prints a Markdown table and writes it, all figures as JSON, and curves of recall against time, to
bench/out. Times are of a shared machine and only their ratios mean something; recall@10 against
exact search stands beside them. The rivals that are not installed are left out:
`pip install .[bench]` installs all, and what draws the curves and reads .hdf5 files.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import chart
import data
import numpy as np
from building import build_all
from common import OUT, THREADS, say, use_cores, write_results
from compare import OWN, at_levels, curves
from effort import MOST, Recalls
from filters import with_filters
from keys import with_keys
from knob import recalls_asked_for
from ours import reopened
from processes import cold_starts, memory
from rivals import installed, space_of
from table import as_markdown
from writes import during_writes

from cyborg_embedded import Client

PARTS = ("cold", "memory", "writes", "curves", "knob", "keys", "filters")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data.add_arguments(parser)
    parser.add_argument("--repeat", type=int, default=5, help="how often cold starts are repeated")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each at a recall")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[], help="parts to leave out")
    parser.add_argument("--out", default=str(OUT), help="where the results go")
    options = parser.parse_args()
    use_cores(THREADS)
    given = data.asked_for(parser, options)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given, Path(folder), options)
    table = as_markdown(figures)
    out = write_results(options.out, "results", figures, table)
    if "curves" in figures:
        title = f"{figures['rows']:,} x {figures['dimension']} ({given.name})"
        files = chart.draw(figures["curves"], title, out)
        drawn = f"curves: {', '.join(map(str, files))}"
        say(drawn if files else "no curves without matplotlib: pip install matplotlib")


def measure(given: data.DataSet, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    dimension, recalls = given.vectors.shape[1], Recalls(given)
    rivals, missing = installed(dimension, given.metric)
    figures: dict[str, Any] = {
        "data": given.name,
        "rows": len(given.vectors),
        "dimension": dimension,
        "metric": given.metric,
        "queries": len(given.queries),
        "versions": {rival.key: version(rival.package) for rival in rivals},
        "titles": {rival.key: rival.title for rival in rivals},
        "missing": missing,
        "raw_mb": given.raw_bytes / 1e6,
    }
    client = Client(folder / "ours")
    key = client.generate_key()
    figures.update(build_all(rivals, client, key, given, recalls))

    say("comparing at equal recalls ...")
    # Opened again, so that this is the index that is in the file.
    with reopened(client, key, given) as ours:
        contenders = [*ours, *rivals]
        figures["at"] = at_levels(contenders, given, recalls, options.rounds)
        figures["reopened_recall"] = figures["at"]["default"]["ours"]["recall"]
        if "curves" not in options.skip:
            say("curves ...")
            figures["curves"] = curves(contenders, given, recalls)

    np.save(folder / "queries.npy", given.queries)
    rivals[0].save(str(folder / "plain.bin"))
    ef = figures["at"]["default"]["hnswlib"]["ef"] or MOST
    plain = (folder / "plain.bin", ef, space_of(given.metric))
    del contenders, rivals
    kinds = [each for each in OWN if each in figures["at"]["default"]]
    if "cold" not in options.skip:
        say("cold starts ...")
        files = (plain, folder / "ours", folder / "queries.npy", key)
        figures["cold"] = cold_starts(*files, options.repeat)
    if "memory" not in options.skip:
        say("memory ...")
        figures["memory"] = memory(folder / "ours", folder / "queries.npy", key, kinds, plain)
    if "writes" not in options.skip:
        say("queries during writes ...")
        figures["writes"] = during_writes(given, folder / "writes")
    if "knob" not in options.skip:
        say("recalls that are asked for ...")
        figures["knob"] = recalls_asked_for(given, folder / "knob", options.rounds)
    if "keys" not in options.skip:
        say("keys ...")
        figures["keys"] = with_keys(given, folder, key, options.repeat)
    if "filters" not in options.skip:
        # The last to use the index, since it changes it.
        figures["filters"] = with_filters(given, folder, key, options.repeat)
    return figures


if __name__ == "__main__":
    main()
