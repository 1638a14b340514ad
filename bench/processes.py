"""Figures that only a fresh process can give: cold starts, and memory.

Each is a script beside this module, run once a figure, with the key on standard input.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import HERE

if TYPE_CHECKING:
    from collections.abc import Sequence

STATUS = Path("/proc/self/status")
IDLE = "idle"


def fresh(script: str, *arguments: object, key: bytes = b"") -> dict[str, Any]:
    """What a script of this folder prints, as JSON. Raises `RuntimeError` with what it says."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, input=key.hex(), capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{script} failed:\n{done.stderr}"
        raise RuntimeError(message)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def cold_starts(plain: Sequence[object], ours: Path, queries: Path, key: bytes, repeat: int) -> Any:
    """Median milliseconds of plaintext hnswlib and ours, by turns; see `open_once`.

    `plain` is the file of an index, the effort it is asked with, and hnswlib's name of the metric.
    """
    path, ef, space = plain
    runs: dict[str, list[dict[str, float]]] = {"hnswlib": [], "ours": []}
    for _ in range(repeat):
        runs["hnswlib"].append(fresh("open_once.py", "plain", path, queries, ef, space))
        runs["ours"].append(fresh("open_once.py", "ours", ours, queries, key=key))
    return {
        who: {f"{part}_ms": statistics.median(run[part] for run in each) for part in each[0]}
        for who, each in runs.items()
    }


def memory(
    ours: Path,
    queries: Path,
    key: bytes,
    kinds: Sequence[str],
    plain: Sequence[object] | None = None,
) -> dict[str, dict[str, float]] | None:
    """Megabytes above an idle interpreter, by contender; see `memory_once`. None without /proc.

    `kinds` are `ours` and `sealed`, or one of them. `plain` as in `cold_starts`, None for none.
    """
    if not STATUS.exists():
        return None
    idle = fresh("memory_once.py", IDLE, ours, queries)
    taken = {kind: fresh("memory_once.py", kind, ours, queries, key=key) for kind in kinds}
    if plain is not None:
        path, ef, space = plain
        taken["hnswlib"] = fresh("memory_once.py", "plain", path, queries, ef, space)
    return {
        who: {name: (kilobytes - idle[name]) * 1024 / 1e6 for name, kilobytes in each.items()}
        for who, each in taken.items()
    } | {IDLE: {name: kilobytes * 1024 / 1e6 for name, kilobytes in idle.items()}}
