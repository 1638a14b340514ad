"""The benchmarks run, at a size at which they measure nothing, so that none of them rots."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run(script, out, *options):
    """What it printed, and the figures that it wrote."""
    command = [sys.executable, REPOSITORY / "bench" / script, "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    stem = {"run.py": "results"}.get(script, Path(script).stem)
    assert (out / f"{stem}.md").read_text() in done.stdout
    return done.stdout, json.loads((out / f"{stem}.json").read_text())


@pytest.mark.slow
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
    assert [each["asked"] for each in figures["knob"]] == [0.9, 0.95, 0.99]
    for each in figures["knob"]:
        assert each["held"] >= each["asked"] - 0.01
        assert each["us"] > 0 < each["real"] <= 1
    check_filters(figures["filters"])
    check_keys(figures["keys"])
    assert '{"pos": "n"}' in printed


def check_filters(figures):
    """Every filter means what it should, is answered in full and well, and has its times."""
    queried = figures["queried"]
    percents = {each["percent"] for each in queried}
    assert percents == {70, 28, 12, 3, 0.3, 0.05}
    for each in queried:
        assert each["complete"]
        assert abs(100 * each["matching"] / figures["rows"] - each["percent"]) < 5
        assert (each["recall"] is None) == (each["matching"] == 0)
        assert each["recall"] is None or each["recall"] >= 0.9
        assert each["us"] > 0 < each["plain_us"]
        assert sum(each["strategies"].values()) == figures["queries"]
    assert max(each["matching"] for each in queried) > figures["rows"] / 2
    assert figures["batch"]["us"] > 0 < figures["batch"]["plain_us"]
    assert len(figures["first"]) == 1 + len(percents)
    assert figures["first"][0]["filters"] is None
    assert all(each["first_ms"] > 0 for each in figures["first"])
    assert all(each["right"] and each["ms"] > 0 for each in figures["ordered"])
    updated = figures["updated"]
    assert updated["right"]
    assert updated["to_do"] == updated["new_rows"] == 0
    assert updated["scattered"]["rows_s"] > 0 < updated["scattered"]["first_ms"]


def check_keys(figures):
    """A wrong key opens nothing; every way of changing the key has its times and is right."""
    refused = figures["wrong"]
    assert refused["unchanged"]
    assert refused["pages"] == 0
    assert 0 < refused["us"] < refused["right_us"]
    rekey, compact, rewrap = figures["rekey"], figures["compact"], figures["rewrap"]
    assert rekey["right"]
    assert compact["right"]
    assert rewrap["right"]
    assert rekey["s"] > 0 < rekey["copy_s"]
    assert rekey["ratio"] > 0 < rekey["vectors_mb_s"]
    assert compact["s"] > 0
    assert compact["deleted"] == -(-figures["rows"] // 5)
    assert compact["after_mb"] < compact["before_mb"]
    custodies = {"supplied", "passphrase", "key file"}
    pairs = {(each["from"], each["to"]): each for each in rewrap["pairs"]}
    assert pairs.keys() == {(a, b) for a in custodies for b in custodies - {a}}
    assert all(each["commit_ms"] > 0 < each["managers_ms"] for each in pairs.values())


def test_parts_that_are_skipped_leave_no_line_behind(tmp_path):
    """`--skip` leaves parts out, also where an index has no sealed form, as with so few rows."""
    options = ["--rows", "400", "--queries", "10", "--rounds", "1", "--repeat", "1"]
    parts = ["cold", "memory", "writes", "curves", "keys", "filters"]
    printed, figures = run(
        "run.py", tmp_path, "--data", REPOSITORY / "sample", *options, "--skip", *parts
    )
    assert not set(parts) & set(figures)
    assert "sealed" not in figures["at"]["default"]
    assert "new process" not in printed


def test_filters_are_measured_alone_and_without_metadata_of_their_own(tmp_path):
    """`bench/filters.py` runs by itself, also on vectors alone, whose metadata are made up."""
    vectors = np.random.default_rng(3).standard_normal((1200, 8)).astype(np.float32)
    np.save(tmp_path / "some.npy", vectors)
    options = ["--rows", "1000", "--queries", "10", "--repeat", "1"]
    printed, figures = run("filters.py", tmp_path, "--data", tmp_path / "some.npy", *options)
    assert figures["rows"] == 1000
    assert "group" in printed
    check_filters(figures)


def test_keys_are_measured_alone(tmp_path):
    """`bench/keys.py` runs by itself."""
    options = ["--rows", "1000", "--repeat", "1"]
    printed, figures = run("keys.py", tmp_path, "--data", REPOSITORY / "sample", *options)
    assert figures["rows"] == 1000
    assert "0 pages opened, file unchanged" in printed
    assert "WRONG" not in printed
    check_keys(figures)


@pytest.mark.slow
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
