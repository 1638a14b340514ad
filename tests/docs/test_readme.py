"""The README keeps to what is there: its code runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cyborg_embedded

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = [code for language, code in BLOCKS if language == "python"]


def run(program, folder):
    """The output of a Python program, run in `folder` with warnings as errors."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_python_block_runs(program, tmp_path):
    """A reader may paste any Python block of the README and it runs, twice in a row."""
    run(program, tmp_path)
    run(program, tmp_path)


def test_the_first_example_prints_what_the_readme_says(tmp_path):
    """The output shown below the first example is what it prints."""
    first = [language for language, _ in BLOCKS].index("python")
    assert run(BLOCKS[first][1], tmp_path) == BLOCKS[first + 1][1]


def test_the_first_example_is_the_quickstart():
    """README and examples/quickstart.py show the same program."""
    quickstart = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert quickstart.partition("\n\n")[2] == PROGRAMS[0]


def test_links_lead_to_files():
    """Every relative link of the README names a file of this repository."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_every_error_is_listed():
    """The README names every error that the package exports."""
    errors = {name for name in cyborg_embedded.__all__ if name.endswith("Error")}
    assert errors <= set(re.findall(r"`(\w+Error)`", README))


@pytest.mark.parametrize("kind", [cyborg_embedded.Client, cyborg_embedded.EncryptedIndex])
def test_every_verb_is_listed(kind):
    """The README's overview names every public method and property."""
    overview = README.partition("## The interface")[2].partition("## Errors")[0]
    verbs = {name for name in vars(kind) if not name.startswith("_")}
    assert verbs <= set(re.findall(r"`(\w+)", overview))


def test_modules_to_read_exist():
    """The reading list names modules that there are."""
    reading = README.partition("## Reading the source")[2].partition("To start from")[0]
    modules = re.findall(r"`(\w+)`", reading)
    assert modules
    assert [name for name in modules if not (ROOT / f"cyborg_embedded/{name}.py").exists()] == []
