"""The second process of this suite; the oracle for filters lies with the tests of filters."""

import sys
from pathlib import Path

import pytest
from index_worker import Process

sys.path.append(str(Path(__file__).resolve().parents[1] / "filters"))


@pytest.fixture(scope="session")
def process():
    """Another process, one for all examples."""
    process = Process()
    yield process
    process.end()
