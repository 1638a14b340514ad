"""Fixtures of the suites of faults."""

import pytest
from fault_harness import close_all


@pytest.fixture(autouse=True)
def nothing_open():
    """What other suites have left open is none of these suites' business."""
    close_all()
