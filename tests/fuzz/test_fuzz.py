"""Whatever bytes a decoder is given, it takes them or says what is wrong, in bounded memory."""

import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from targets import TARGETS, run

CORPUS = Path(__file__).parent / "corpus"
PER_BYTE, AT_LEAST = 100, 1 << 20
"""Bytes of memory that a target may have at a time: for each byte it is given, and anyway."""
FEW, MANY = 150, 20_000


def corpus(name):
    """The saved bytes of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutated(rng, known):
    """Bytes made of known ones, in a few steps."""
    data = bytearray(rng.choice(known))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif how == 1 and data:
            data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif how == 2:
            del data[at : at + rng.choice((1, 4, 16, len(data)))]
        elif how == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 16)))
        elif how == 4:
            number = rng.choice((0, 1, 255, 65535, 2**31, 2**32 - 1, len(data)))
            data[at : at + 4] = number.to_bytes(4, "little")
        else:
            other = rng.choice(known)
            start = rng.randrange(len(other) + 1)
            data[at : at + 16] = other[start : start + 16]
    return bytes(data)


def measured(name, data):
    """Run a target: whether it took the bytes, and how much memory it had at a time."""
    tracemalloc.start()
    try:
        taken = run(name, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return taken, peak


def run_bounded(name, data):
    """Run a target, and see how much memory it has at a time."""
    most = PER_BYTE * len(data) + AT_LEAST
    taken, peak = measured(name, data)
    if peak >= most:
        # The interpreter may just have made a table of its own larger: not twice.
        _, peak = measured(name, data)
    assert peak < most, f"{peak} bytes for {len(data)}"
    return taken


@pytest.mark.parametrize("name", TARGETS)
def test_saved_bytes(name):
    """A target takes what is saved for it, cut anywhere it does not, and nothing else comes out."""
    known = corpus(name)
    assert known
    taken = [run_bounded(name, data) for data in known]
    assert any(taken)
    for data in known:
        step = max(1, len(data) // 40)
        for length in range(0, len(data), step):
            run_bounded(name, data[:length])


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_bytes(name):
    """So it is for bytes that somebody has changed."""
    known, rng = corpus(name), random.Random(name)
    for _ in range(FEW):
        run_bounded(name, mutated(rng, known))


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name):
    """So it is for any bytes."""

    @settings(
        max_examples=FEW,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=400))
    @example(b"")
    def holds(data):
        run_bounded(name, data)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutated_bytes(name):
    """So it is for many more, changed in one way after another."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    rng = random.Random(seed)
    known = corpus(name)
    for _ in range(MANY):
        data = mutated(rng, known)
        if run_bounded(name, data) and len(known) < 500:
            known.append(data)
