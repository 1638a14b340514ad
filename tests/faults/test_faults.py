"""Whatever fails on the way, a call has happened as a whole or not at all."""

import faulthandler
import itertools
import random

import pytest
from fault_harness import OPERATIONS, Place, counted, run
from injector import ERRORS, POINTS, Injector

FEW = 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("faults"))


@pytest.fixture(autouse=True)
def no_waiting():
    """A call that waits for ever ends the tests, and says where it was."""
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def fail_everywhere(place, operation, monkeypatch, rng, most):
    """Faults of each kind, at `most` of its calls, with one error after another."""
    errors = itertools.cycle(rng.sample(ERRORS, len(ERRORS)))
    failed = 0
    for point in POINTS:
        count, after = counted(place, operation, point, monkeypatch)
        calls = range(1, count + 1)
        for fails_at in calls if count <= most else sorted(rng.sample(calls, most)):
            for make in [next(errors)] if most <= FEW else ERRORS:
                error = make()
                told = f"{operation.__name__}: call {fails_at} of {count} of {point}: {error!r}"
                try:
                    _, content, raised = run(
                        place, operation, Injector(point), monkeypatch, fails_at, error
                    )
                    assert content in (place.before, after), "neither before nor after"
                    assert raised is not None or content == after, "nothing said, nothing done"
                except BaseException as wrong:
                    raise AssertionError(told) from wrong
                failed += raised is not None
    assert failed


@pytest.mark.parametrize("operation", OPERATIONS[::3], ids=lambda operation: operation.__name__)
def test_faults(place, operation, monkeypatch):
    """After a fault an index has what it had before, or what it should have; the handle works, or
    is closed; and nothing is left behind. (Some of the calls: the long suite has all.)
    """
    fail_everywhere(place, operation, monkeypatch, random.Random(1), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_faults_everywhere(place, operation, monkeypatch):
    """So it is for a fault at any call, with any error."""
    fail_everywhere(place, operation, monkeypatch, random.Random(2), 60)
