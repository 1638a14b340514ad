"""Whatever is done to an index, in any order, it answers as a dict and float64 arithmetic do."""

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
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import KEY, METRICS, check_items, check_query, make_index, plain

from cyborg_embedded import Client

DIMENSION = 3
NAMES = [f"item {number:02}" for number in range(90)]

names = st.sampled_from(NAMES[:24])
# A coarse lattice, so that equal vectors and equal distances are common. Never the zero vector,
# which has no direction.
vectors = st.lists(
    st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0]),
    min_size=DIMENSION,
    max_size=DIMENSION,
).filter(any)
metadata = st.none() | st.dictionaries(
    st.sampled_from(["a", "b", "ключ"]),
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    max_size=3,
)
contents = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(["long " * 150, b"\x00\xff" * 400, "x" * 512, b"y" * 513]),
)
batches = st.lists(st.tuples(names, vectors, metadata, contents), max_size=6)


class IndexMachine(RuleBasedStateMachine):
    """One index, its model, and a second handle that only looks on until it is told to write."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.client = Client(self.folder)
        self.items = {}
        self.order = []
        self.sequence = 1
        self.index = self.other = None

    def teardown(self):
        for handle in (self.index, self.other):
            if handle is not None:
                handle.close()
        shutil.rmtree(self.folder)

    def load(self):
        """A handle of its own."""
        return self.client.load_index("notes", index_key=KEY)

    @initialize(
        metric=st.sampled_from(METRICS),
        page_size=st.sampled_from([256, 512, 1024, 32_752]),
        known=st.booleans(),
    )
    def create(self, metric, page_size, known):
        dimension = DIMENSION if known else None
        make_index(
            self.folder, "notes", KEY, dimension=dimension, metric=metric, page_size=page_size
        )
        self.metric = metric
        self.index, self.other = self.load(), self.load()

    def put(self, handle, batch):
        """Upsert through a handle, and into the model."""
        handle.upsert(
            [
                {"id": name, "vector": vector, "metadata": described, "contents": held}
                for name, vector, described, held in batch
            ]
        )
        last = {name: number for number, (name, *_) in enumerate(batch)}
        for number, (name, vector, described, held) in enumerate(batch):
            if last[name] != number:
                continue
            row = np.array(vector, np.float32)
            if name not in self.items or self.items[name][0].tobytes() != row.tobytes():
                self.order = [known for known in self.order if known != name] + [name]
            self.items[name] = (row, described, held)
        self.sequence += bool(batch)

    @rule(batch=batches)
    def upsert(self, batch):
        self.put(self.index, batch)

    @rule(batch=batches)
    def upsert_through_the_other(self, batch):
        self.put(self.other, batch)

    @rule(seed=st.integers(0, 1000), first=st.integers(0, 50))
    def upsert_many(self, seed, first):
        rows = np.random.default_rng(seed).normal(size=(40, DIMENSION)).astype(np.float32)
        chosen = NAMES[first : first + 40]
        self.put(
            self.index, [(name, row, None, None) for name, row in zip(chosen, rows, strict=True)]
        )

    @precondition(lambda self: self.items)
    @rule(data=st.data(), described=metadata, held=contents)
    def update_without_moving(self, data, described, held):
        name = data.draw(st.sampled_from(sorted(self.items)))
        rows = self.index.describe()["deleted_rows"]
        self.put(self.index, [(name, self.items[name][0], described, held)])
        assert self.index.describe()["deleted_rows"] == rows

    @rule(doomed=st.lists(st.sampled_from(NAMES), max_size=20), through=st.booleans())
    def delete(self, doomed, through):
        known = set(doomed) & set(self.items)
        assert (self.other if through else self.index).delete(doomed) == len(known)
        for name in known:
            del self.items[name]
        self.order = [name for name in self.order if name not in known]
        self.sequence += bool(known)

    @rule()
    def delete_everything(self):
        self.sequence += bool(self.items)
        assert self.index.delete(self.index.list_ids()) == len(self.items)
        self.items, self.order = {}, []

    @rule(query=vectors, k=st.sampled_from([1, 2, 3, 5, 9, 50, 1000]), through=st.booleans())
    def query(self, query, k, through):
        handle = self.other if through else self.index
        results = handle.query(
            query, top_k=k, include=["distance", "vector", "metadata", "contents"]
        )
        check_query(results, query, k, self.metric, self.items)
        batch = handle.query([query, query], top_k=k, include=["distance"])
        found = [(result["id"], result["distance"]) for result in results]
        for again in batch:
            assert [(result["id"], result["distance"]) for result in again] == found

    @rule(asked=st.lists(st.sampled_from(NAMES), max_size=6))
    def get(self, asked):
        got = self.index.get(asked)
        assert [item["id"] for item in got] == [name for name in asked if name in self.items]
        for item in got:
            row, described, held = self.items[item["id"]]
            assert plain(item["vector"]) == plain(row)
            assert (item["metadata"], item["contents"]) == (described, held)

    @rule(through=st.booleans())
    def optimize(self, through):
        handle = self.other if through else self.index
        handle.optimize()
        described = handle.describe()
        assert described["indexed_rows"] == described["rows"] == len(self.items)
        assert described["sequence"] - self.sequence in {0, 1}
        self.sequence = described["sequence"]

    @rule()
    def reopen(self):
        self.index.close()
        self.index = self.load()

    @rule()
    def reopen_all(self):
        self.index.close()
        self.other.close()
        self.index, self.other = self.load(), self.load()
        check_items(self.index, self.items)

    @invariant()
    def both_handles_agree_with_the_model(self):
        if self.index is None:
            return
        for handle in (self.index, self.other):
            assert handle.list_ids() == self.order
            assert len(handle) == len(self.items)
            assert handle.sequence == self.sequence
        assert self.index.commit_id == self.other.commit_id


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def test_any_history():
    """Any short history of calls leaves an index that agrees with its model at every step."""
    profile = settings(max_examples=100, stateful_step_count=30, derandomize=True, **COMMON)
    run_state_machine_as_test(IndexMachine, settings=profile)


@pytest.mark.slow
def test_any_long_history():
    """So does any long one."""
    profile = settings(max_examples=600, stateful_step_count=80, print_blob=True, **COMMON)
    run_state_machine_as_test(IndexMachine, settings=profile)
