"""What all benchmarks have in common."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

K = 10
"""Neighbours that are asked for."""
M, EF_CONSTRUCTION = 16, 200
"""What every graph is built with, whoever builds it."""
THREADS = 2
"""Threads of builds and of batches. Single queries have one."""
BATCH = 1000
"""Rows of one upsert."""
INDEX = "bench"
"""The name of the encrypted index."""
HERE = Path(__file__).resolve().parent
OUT = HERE / "out"


def write_results(folder: str, name: str, figures: dict[str, Any], table: str) -> Path:
    """Write figures and their table to a folder, which is given back, and print the table."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / f"{name}.md").write_text(table)
    print(table)
    return out


def use_cores(count: int) -> None:
    """Run on so many cores: the library uses all that there are, and the rivals so many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def say(what: str) -> None:
    """Tell who is waiting what is going on."""
    print(what, file=sys.stderr, flush=True)
