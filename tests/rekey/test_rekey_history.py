"""Whatever is done to an index, in any order, with rekeys in between: it answers as a dict does."""

import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from rekey_harness import LEFT, WAYS, Custodian, files
from support import check_items, check_query

NAMES = [f"item {number}" for number in range(40)]
DIMENSION = 3
names = st.lists(st.sampled_from(NAMES), max_size=15, unique=True)


class RenewedIndex(RuleBasedStateMachine):
    """One index and its model."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.items, self.order, self.number = {}, [], 0
        self.index = None

    def teardown(self):
        if self.index is not None:
            self.index.close()
        shutil.rmtree(self.folder)

    @initialize(way=st.sampled_from(WAYS), known=st.booleans())
    def create(self, way, known):
        self.custodian = Custodian(self.folder, way)
        self.index = self.custodian.create(dimension=DIMENSION if known else None)
        self.sequence = self.index.sequence

    @rule(chosen=names, long=st.booleans(), moving=st.booleans())
    def upsert(self, chosen, long, moving):
        self.number += 1
        rows = np.random.default_rng(self.number).normal(size=(len(chosen), DIMENSION))
        for name, row in zip(chosen, rows.astype(np.float32), strict=True):
            if name in self.items and not moving:
                row = self.items[name][0]  # noqa: PLW2901 - the row that it has
            else:
                self.order = [*(known for known in self.order if known != name), name]
            described = {"n": self.number, **({"text": "x" * 700} if long else {})}
            self.items[name] = (row, described, "y" * 900 if long else None)
        if chosen:
            vectors, metadata, contents = zip(*(self.items[name] for name in chosen), strict=True)
            self.index.upsert(chosen, np.array(vectors), list(metadata), list(contents))

    @rule(chosen=names)
    def delete(self, chosen):
        assert self.index.delete(chosen) == len(self.items.keys() & set(chosen))
        self.order = [name for name in self.order if name not in chosen]
        self.items = {name: self.items[name] for name in self.order}

    @rule()
    def renew(self):
        self.custodian.renew(self.index)
        assert self.index.describe()["deleted_rows"] == 0

    @rule()
    def compact(self):
        self.index.compact()
        assert self.index.describe()["deleted_rows"] == 0

    @rule()
    def optimize(self):
        self.index.optimize()

    @rule()
    def reopen(self):
        self.index.close()
        self.index = self.custodian.load()

    @rule(seed=st.integers(0, 99), k=st.sampled_from([1, 3, 50]))
    def query(self, seed, k):
        query = np.random.default_rng(seed).normal(size=DIMENSION)
        include = ["distance", "vector", "metadata", "contents"]
        results = self.index.query(query, top_k=k, include=include)
        check_query(results, query, k, "euclidean", self.items)

    @rule(least=st.integers(0, 12))
    def filter(self, least):
        matching = [name for name in self.order if self.items[name][1]["n"] >= least]
        assert self.index.list_ids({"n": {"$gte": least}}) == matching

    @invariant()
    def agrees_with_the_model(self):
        if self.index is None:
            return
        assert self.index.list_ids() == self.order
        check_items(self.index, self.items)
        assert self.index.sequence >= self.sequence
        self.sequence = self.index.sequence
        assert files(self.folder) <= LEFT


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def test_any_history_with_rekeys():
    """Any short history of upserts, deletes, rekeys, compactions and reopenings."""
    profile = settings(max_examples=7, stateful_step_count=14, derandomize=True, **COMMON)
    run_state_machine_as_test(RenewedIndex, settings=profile)


@pytest.mark.slow
def test_any_long_history_with_rekeys():
    """Any long one."""
    profile = settings(max_examples=200, stateful_step_count=50, print_blob=True, **COMMON)
    run_state_machine_as_test(RenewedIndex, settings=profile)
