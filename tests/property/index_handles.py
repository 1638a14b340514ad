"""One index, its model, and those who have it open."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from index_model import IndexModel
from index_strategies import DIMENSION, NAMES
from index_worker import NAME, Remote, managers, open_index
from support import METRICS, check_items

from cyborg_embedded import Client
from cyborg_embedded.folder import Folder
from cyborg_embedded.kms import KeyFile
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore

WATCHED = {"$or": [{"a": {"$gte": 1}}, {"ключ": {"$gte": "a"}}, {"b": ["a"]}]}
"""What is asked for after each step."""
WIDE = 200
"""The width of a walk that finds everything in graphs as small as these."""

# Three handles of this process, and one of another. Two of them look at every commit, the others
# only when they are told to do something.
whos = st.sampled_from(["first", "second", "idle", "process"])

EVERYTHING = ("distance", "vector", "metadata", "contents")


def key_number(number):
    """The n-th key of an index."""
    return hashlib.sha256(b"%d" % number).digest()


class IndexHandles(RuleBasedStateMachine):
    """How the index is made, opened and closed, and what all of its handles see."""

    def __init__(self, process):
        super().__init__()
        self.process, self.remote, self.away = process, Remote(process), False
        self.folder = Path(tempfile.mkdtemp())
        KeyFile.create(self.folder / "wrapping.key")
        self.client = Client(self.folder / "indexes", kms=managers(self.folder))
        self.path = self.folder / "indexes" / f"{NAME}.cyb"
        self.keys, self.slots = [key_number(0)], []
        self.handles = {}
        self.model = None
        self.harmed = False

    def teardown(self):
        try:
            if self.handles:
                self.verify("first")
                self.look("process")
                check_items(self.of("second"), self.model.items)
        finally:
            self.close_all()
            shutil.rmtree(self.folder)

    @property
    def access(self):
        """What opens the index now."""
        return {} if self.slots else {"index_key": self.keys[-1]}

    @property
    def options(self):
        """How it is opened."""
        least = self.model.sequence
        return {**self.access, "indexing": self.indexing, "min_sequence": least}

    @property
    def first(self):
        return self.handles["first"]

    def of(self, who):
        """The handle of somebody."""
        if who != "process":
            return self.handles[who]
        if not self.away:
            self.process.ask("open", str(self.folder), **self.options)
            self.away = True
        return self.remote

    def load(self, *who, **options):
        """Open handles of this process."""
        for each in who:
            self.handles[each] = open_index(self.folder, **self.options, **options)

    def close_process(self):
        if self.away:
            self.process.ask("close")
            self.away = False

    def close_all(self):
        self.close_process()
        for handle in self.handles.values():
            handle.close()

    def refuse(self, error, **access):
        """Assert that the index does not open."""
        with pytest.raises(error):
            self.client.load_index(NAME, **access)

    @initialize(
        metric=st.sampled_from(METRICS),
        precision=st.sampled_from(["float32", "float32", "float16"]),
        page_size=st.sampled_from([256, 512, 1024, 32_752]),
        known=st.booleans(),
        projected=st.booleans(),
        indexing=st.sampled_from(["manual", "inline"]),
        slots=st.sampled_from([[], ["file"], ["words", "file"]]),
        filled=st.booleans(),
    )
    def create(self, metric, precision, page_size, known, projected, indexing, slots, filled):
        self.projected = projected and metric != "inner_product"
        root = Root(
            sequence=1,
            metric=metric,
            dimension=DIMENSION if known else 0,
            precision=precision,
            navigator_dimensions=DIMENSION - 1 if self.projected else 0,
        )
        with Folder(self.path.parent).creating(NAME, timeout=10.0) as path:
            PageStore.create(path, self.keys[0], root, page_size=page_size)
        self.model, self.indexing = IndexModel(metric, precision), indexing
        for slot in slots:
            self.rewrap(slot) if not self.slots else self.add(slot)
        self.load("first", "second", "idle")
        if filled:
            self.fill("first", 0, 0)
            self.first.optimize()
            self.model.sequence = self.first.sequence

    def fill(self, who, seed, first):
        """Upsert 40 items."""
        rows = np.random.default_rng(seed).normal(size=(40, DIMENSION)).astype(np.float32)
        chosen = NAMES[first : first + 40]
        described = [{"a": number % 7, "ключ": "ab"[number % 2]} for number in range(40)]
        self.of(who).upsert(chosen, rows, described)
        told = zip(chosen, rows, described, strict=True)
        self.model.upsert(
            [
                {"id": name, "vector": row, "metadata": each, "contents": None}
                for name, row, each in told
            ]
        )

    def rewrap(self, slot):
        """Put the key into the hands of one manager."""
        assert self.client.rewrap_index(NAME, **self.access, to_kms=slot) is None
        self.model.sequence += 1
        self.slots = [slot]
        assert list(self.client.describe_index(NAME)["key_managers"]) == self.slots

    def add(self, slot):
        """Put the key into the hands of one more manager."""
        self.client.add_key_manager(NAME, slot)
        self.model.sequence += 1
        self.slots = list(dict.fromkeys([*self.slots, slot]))

    def search(self, who, query, k, asked=None, ef=None):
        """The nearest to one vector, checked."""
        results, plan = self.of(who).query(
            query, top_k=k, filters=asked, include=EVERYTHING, ef=ef, explain=True
        )
        exact = not (self.projected and plan["strategy"] in {"graph", "codes"})
        self.model.check_nearest(results, query, k, asked, exact=exact)
        return results

    @rule(who=whos)
    def look(self, who):
        """Whoever it is sees the newest commit, which is that of everybody else."""
        handle = self.of(who)
        assert handle.list_ids() == self.model.order
        assert len(handle) == len(self.model.items)
        assert handle.sequence == self.model.sequence
        assert handle.commit_id == self.first.commit_id

    @rule(who=whos)
    def verify(self, who):
        report = self.of(who).verify()
        assert report.ok or (self.harmed and report.lossless), report.problems
        assert (report.live_rows, report.unnamed_records) == (len(self.model.items), 0)
        assert (report.sequence, report.commit_id) == (self.model.sequence, self.first.commit_id)

    @invariant()
    def two_handles_agree_with_the_model(self):
        if self.handles:
            if self.indexing == "inline":
                # Whoever deletes the last item may drop the graph, which is a commit of its own.
                self.model.sequence = max(self.model.sequence, self.first.sequence)
            self.look("first")
            self.look("second")
            watched = self.model.matching(WATCHED)
            assert self.first.list_ids(WATCHED) == list(watched)
            k = 1 + self.model.sequence % 4
            for asked, items in ((None, self.model.matching()), (WATCHED, watched)):
                if items:
                    # No graph may have the newest one yet.
                    newest = list(items.values())[-1][0]
                    self.search("second", newest, k, asked, asked and WIDE)
