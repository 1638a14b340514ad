"""The demo runs, and says what it is there to say."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = [
    "1. Create an index",
    "2. Upsert 2,000 items",
    "3. Optimize",
    "4. Search by example",
    "5. Search with the embeddings of words",
    "6. Compare 60 searches with an exact search",
    "7. Close, and look through every byte",
    "8. Open with a wrong key",
    "9. Open with the right key",
]


def demo(folder):
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "demo.py", folder],
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_the_demo_shows_every_step(tmp_path):
    """All nine steps succeed, with a time each, in 100 columns, and no secret is found."""
    result = demo(tmp_path / "data")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    headings = [line for line in lines if re.match(r"\d\. .*\.\d ms$", line)]
    assert len(headings) == len(HEADINGS)
    assert all(map(str.startswith, headings, HEADINGS))
    assert "WrongKeyError: " in result.stdout
    found = re.findall(r"([\d,]+) found +([\d,]+) found$", result.stdout, re.MULTILINE)
    assert len(found) == 5
    assert all(plain != "0" and sealed == "0" for plain, sealed in found)


def test_the_demo_leaves_other_folders_alone(tmp_path):
    """A folder given by name that is not empty is refused and stays as it is."""
    (tmp_path / "precious").write_text("mine")
    result = demo(tmp_path)
    assert result.returncode == 1
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
