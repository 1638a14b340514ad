"""The benchmarks run, at a size at which they measure nothing, so that none of them rots."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_bench_runs_on_the_sample(tmp_path):
    """`bench/run.py` runs on the bundled sample and reports every figure, with exact recall of 1."""
    command = [sys.executable, REPOSITORY / "bench" / "run.py", "--data", REPOSITORY / "sample"]
    options = ["--rows", "1500", "--queries", "40", "--repeat", "1", "--out", tmp_path]
    done = subprocess.run(command + options, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "results.json").read_text())
    assert figures["exact_recall"] == 1.0
    assert figures["recall"] >= 0.9
    assert figures["reopened_recall"] == figures["recall"]
    assert (tmp_path / "results.md").read_text() in done.stdout
