"""A part of the benchmarks by itself: with an index of its own, and a table of its own."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
from common import OUT, THREADS, say, use_cores, write_results
from ours import create, upsert

from cyborg_embedded import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, Any]
    Measure = Callable[[data.DataSet, Path, bytes, int], Figures]

__all__ = ["measured_alone"]


def measured_alone(
    words: str | None,
    name: str,
    measure: Measure,
    as_markdown: Callable[[Figures], str],
    repeated: str,
) -> None:
    """Read the command line, make a finished index in `ours` of a folder, and have it measured.

    `words` are those of the help; `repeated` says what `--repeat` repeats.
    """
    parser = argparse.ArgumentParser(
        description=words, formatter_class=argparse.RawTextHelpFormatter
    )
    data.add_arguments(parser)
    parser.add_argument("--repeat", type=int, default=5, help=repeated)
    parser.add_argument("--out", default=str(OUT), help="where the results go")
    options = parser.parse_args()
    use_cores(THREADS)
    given = data.asked_for(parser, options)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        client = Client(folder / "ours")
        key = client.generate_key()
        say("making an index ...")
        with create(client, key, given, indexing="manual") as index:
            upsert(index, given, range(len(given.ids)))
            index.optimize()
        figures = measure(given, folder, key, options.repeat)
    write_results(options.out, name, figures, as_markdown(figures))
