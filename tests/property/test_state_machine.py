"""Whatever happens to an index, in any order, it answers as a dict and float64 arithmetic do."""

from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from index_asking import Asking
from index_keeping import Custody, Keeping
from index_writing import Writing


class IndexMachine(Writing, Asking, Keeping, Custody):
    """Everything that can happen to an index."""


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def test_any_history(process):
    """Any short history of an index leaves it in agreement with its model at every step."""
    profile = settings(max_examples=12, stateful_step_count=30, derandomize=True, **COMMON)
    run_state_machine_as_test(partial(IndexMachine, process), settings=profile)


@pytest.mark.slow
def test_any_long_history(process):
    """So does any long one."""
    profile = settings(max_examples=1000, stateful_step_count=50, print_blob=True, **COMMON)
    run_state_machine_as_test(partial(IndexMachine, process), settings=profile)
