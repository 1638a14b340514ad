"""The benchmarks run, at a size at which they measure nothing, so that none of them rots."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(script, out, *options):
    """What it printed, and the figures that it wrote."""
    command = [sys.executable, REPOSITORY / "bench" / script, "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    stem = {"run.py": "results", "million.py": "million"}[script]
    assert (out / f"{stem}.md").read_text() in done.stdout
    return done.stdout, json.loads((out / f"{stem}.json").read_text())


def test_run_measures_everything_on_the_sample(tmp_path):
    """`bench/run.py` runs on the bundled sample and reports every figure, with exact recall of 1."""
    options = ["--rows", "1500", "--queries", "20", "--repeat", "1", "--rounds", "1"]
    printed, figures = run("run.py", tmp_path, "--data", REPOSITORY / "sample", *options)
    assert figures["exact_recall"] == 1.0
    assert figures["recall"] >= 0.9
    assert figures["reopened_recall"] == figures["recall"]

    rivals = {"hnswlib": "hnswlib", "usearch": "usearch", "faiss": "faiss"}
    there = {key for key, module in rivals.items() if find_spec(module)}
    assert set(figures["titles"]) == there
    assert len(figures["missing"]) == len(rivals) - len(there)
    assert ("Left out" in printed) == bool(figures["missing"])
    contenders = {"ours", "sealed", *there}
    assert set(figures["at"]) == {"default", "0.95", "0.99"}
    for wanted, level in figures["at"].items():
        assert set(level) == contenders
        least = figures["recall"] if wanted == "default" else float(wanted)
        for who, each in level.items():
            # Who cannot reach it, whatever the effort, has no times.
            own = wanted == "default" and who == "sealed"
            assert own or (each["us"] is None) == (each["recall"] < least)
    assert set(figures["curves"]) == contenders
    for points in figures["curves"].values():
        assert points[-1]["recall"] > 0.9
        assert all(point["us"] > 0 for point in points)
    assert (tmp_path / "curves.svg").exists() == bool(find_spec("matplotlib"))

    assert set(figures["cold"]) == {"ours", "hnswlib"}
    assert set(figures["memory"]) == {"ours", "sealed", "hnswlib", "idle"}
    vectors = 1500 * 384 * 4 / 1e6
    assert figures["memory"]["hnswlib"]["anonymous"] > 0.9 * vectors
    writes = figures["writes"]
    assert writes["recall"] >= 0.9
    for phase in ("rest", "upsert", "scan"):
        assert 0 < writes[phase]["p50_us"] <= writes[phase]["p99_us"] <= writes[phase]["max_us"]


def test_parts_that_are_skipped_leave_no_line_behind(tmp_path):
    """`--skip` leaves parts out, also where an index has no sealed form, as with so few rows."""
    options = ["--rows", "400", "--queries", "10", "--rounds", "1", "--repeat", "1"]
    skip = ["--skip", "cold", "memory", "writes", "curves"]
    printed, figures = run("run.py", tmp_path, "--data", REPOSITORY / "sample", *options, *skip)
    assert not {"cold", "memory", "writes", "curves"} & set(figures)
    assert "sealed" not in figures["at"]["default"]
    assert "new process" not in printed


def test_million_runs_with_fewer(tmp_path):
    """`bench/million.py` runs at any size, and finds what an exact search finds."""
    options = ["--rows", "3000", "--queries", "20", "--repeat", "1", "--efforts", "40", "300"]
    _, figures = run("million.py", tmp_path, *options, "--folder", tmp_path)
    assert figures["rows"] == 3000
    default, less, more = figures["at"]
    assert default["ef"] is None
    assert less["recall"] <= more["recall"]
    assert more["recall"] > 0.9
    assert figures["sealed"]["recall"] > 0.9
    assert figures["file_mb"] > figures["vectors_mb"]
    assert set(figures["memory"]) == {"ours", "sealed", "idle"}


def test_million_wants_room_first(tmp_path):
    """A size that neither disk nor memory can hold is refused before anything is written."""
    command = [sys.executable, REPOSITORY / "bench" / "million.py", "--rows", str(10**12)]
    done = subprocess.run([*command, "--folder", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "are needed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_there_is_one_line(tmp_path):
    """Data that cannot be used end the run with a sentence, not with a traceback."""
    command = [sys.executable, REPOSITORY / "bench" / "run.py", "--data", tmp_path / "none.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'none.npy'} does not exist\n"
