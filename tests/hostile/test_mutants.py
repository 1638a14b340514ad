"""A file that was mutated, opened as `untrusted`, kills nobody, and never answers wrongly."""

import random
from collections import Counter

import pytest
from hostile_harness import Opener, check_left, judge, make_case, place
from hostile_mutants import WAYS, mutant

FEW, MANY = 40, 2000
HARMFUL = (139, 955, 970, 1163, 1324, 1340, 1354, 1371)
"""Mutants of seed 1 that end a process, or come to no good end, where nothing is checked first."""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("hostile"))


def run(case, folder, seed, numbers):
    """Open mutants of a seed; how many of each way had an answer, and how many there were."""
    opened, made = Counter(), Counter()
    with Opener() as opener:
        for number in numbers:
            name, data = mutant(case.pristine, random.Random(f"{seed} {number}"), number)
            name = f"{name} of seed {seed}"
            place(folder, data)
            answers = opener.ask(folder, name)
            judge(case, answers, name)
            check_left(folder, name)
            way = name.split()[0]
            made[way] += 1
            opened[way] += answers["open"][0] == "is"
    return opened, made


def test_the_file_as_it_is(case, tmp_path):
    """What nobody has changed opens as `untrusted`, and answers as it does otherwise."""
    with Opener() as opener:
        place(tmp_path / "own", case.pristine)
        assert opener.ask(tmp_path / "own", "pristine") == case.commits[0]


def test_mutants(case, tmp_path):
    """A mutated file is an error of this library, or its right answers; never a signal, never a wait."""
    opened, _ = run(case, tmp_path / "mutant", 1, (*HARMFUL, *range(FEW)))
    # What leaves the structure sound passes the check: so what is behind it has its share too.
    sound = ("damage_values", "exchange_values", "go_back")
    assert all(opened[way] for way in sound), opened


@pytest.mark.slow
def test_many_mutants(case, tmp_path):
    """So it is for many more of them, of a seed that nobody has chosen."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    _, made = run(case, tmp_path / "mutant", seed, range(MANY))
    assert set(made) == {way.__name__ for way in WAYS}
