"""A process that is killed at any moment loses nothing that it had been told was written."""

import os
import pickle
import time
from collections import Counter

import pytest
from crash_harness import Killer, seeded
from crash_model import DIMENSION, GROUPS, KINDS, Model, key_number
from support import check_items, check_query, make_index, plain

from cyborg_embedded import Client, WrongKeyError

NAME = "notes"
REWRITES = {"compact", "rekey"}
LEFT = {".lock", f"{NAME}.cyb", f"{NAME}.cyb-lock", f"{NAME}.cyb-writer"}


class Life:
    """One index that lives through the deaths of all who work on it."""

    def __init__(self, folder, rng):
        self.folder, self.rng = folder, rng
        self.place = folder / "indexes"
        page_size = rng.choice([512, 4096, 32_752])
        make_index(self.place, NAME, key_number(0), dimension=DIMENSION, page_size=page_size)
        self.model = Model(rng.randrange(1 << 30))
        self.sequence = 1
        self.temporary = set()
        self.struck, self.happened, self.left = Counter(), Counter(), 0

    def round(self, killer):
        """Let one more process work on it, kill it, and look at what is there."""
        given = self.folder / "model"
        given.write_bytes(pickle.dumps(self.model))
        said = killer.run_and_kill("change", self.place, given)
        for word, number, *rest in said:
            assert int(number) == self.model.number
            if word == "end":
                self.model.apply(*self.model.operation())
                self.sequence = int(rest[1])
        under_way = said[-1][2] if said[-1][0] == "begin" else None
        self.struck[under_way or "between calls"] += 1
        after = self.model
        if under_way:
            after = self.model.copy()
            after.apply(*self.model.operation())
        index, key = self.opened({self.model.key, after.key})
        with index:
            happened = self.check_which(index, after, key)
            self.happened[under_way] += happened
            self.check_answers(index)
            report = index.verify()
            assert report.ok, report
            self.check_left(index, said)

    def opened(self, keys):
        """The index under the one of these keys that it has; no other one opens it."""
        client = Client(self.place)
        found = []
        for key in sorted(keys):
            try:
                index = client.load_index(NAME, index_key=key_number(key), indexing="manual")
            except WrongKeyError:
                continue
            found.append((index, key))
        assert len(found) == 1, f"of the keys {keys} {len(found)} open it"
        return found[0]

    def check_which(self, index, after, key):
        """See that what was under way has happened as a whole or not at all: whether it has."""
        assert index.sequence >= self.sequence, "an acknowledged commit is lost"
        self.sequence = index.sequence
        held = [
            (item["id"], plain(item["vector"]), item["metadata"], item["contents"])
            for item in index.get(index.list_ids())
        ]
        possible = {False: self.model, True: after}
        fitting = [
            happened
            for happened, model in possible.items()
            if model.key == key and listed(model) == held
        ]
        assert fitting, f"neither before nor after, at {self.model.number} of {self.model.seed}"
        self.model = possible[fitting[0]]
        if not fitting[0]:
            # The same operation is not tried again: the next one is another.
            self.model.number = after.number
        return fitting[0]

    def check_answers(self, index):
        """Ask in all ways."""
        items = self.model.items
        check_items(index, items)
        wanted = {"group": self.rng.randrange(GROUPS), "even": self.rng.random() < 0.5}
        assert index.count(wanted) == len(self.model.matching(wanted))
        assert index.list_ids(wanted) == self.model.matching(wanted)
        query = [self.rng.gauss(0, 1) for _ in range(DIMENSION)]
        for k in (3, 1000):
            check_query(index.query(query, top_k=k), query, k, "euclidean", items)
        if items:
            names = self.rng.sample(sorted(items), min(10, len(items)))
            found, _ = index.query_arrays([items[name][0] for name in names], top_k=1)
            assert [list(ids) for ids in found] == [[name] for name in names]

    def check_left(self, index, said):
        """See that nothing is left but one file that was to take the place of the index, and that
        the next one of these, or the next creation, removes it.
        """
        begun = [step[2] for step in said if step[0] == "begin"]
        under_way = begun.pop() if said[-1][0] == "begin" else None
        temporary = {file for file in os.listdir(self.place) if file.startswith(".new-")}
        assert set(os.listdir(self.place)) - temporary <= LEFT
        assert len({file.partition(".cyb")[0] for file in temporary}) <= 1, temporary
        new = temporary - self.temporary
        assert not new or under_way in REWRITES, "what is done with is still there"
        if REWRITES.intersection(begun):
            assert temporary == new, "what was left before is still there"
        self.left += bool(new)
        if temporary and self.rng.random() < 0.5:
            if self.rng.random() < 0.5:
                index.compact()
            else:
                client = Client(self.place)
                client.create_index("next", index_key=key_number(0)).close()
                client.delete_index("next", index_key=key_number(0))
            temporary = set()
            assert set(os.listdir(self.place)) <= LEFT
        self.temporary = temporary


def listed(model):
    """What an index with the items of a model lists, in a form that compares by `==`."""
    return [(name, plain(item[0]), *item[1:]) for name, item in model.items.items()]


def killed(folder, rounds):
    """A life of so many rounds, and what there is to tell of it."""
    began = time.monotonic()
    with seeded() as rng, Killer(rng) as killer:
        life = Life(folder, rng)
        for _ in range(rounds):
            life.round(killer)
    happened = {kind: count for kind, count in life.happened.most_common() if count}
    return life, "\n".join(
        [
            f"{rounds} kills in {time.monotonic() - began:.0f} s, at {life.model.number} calls",
            f"struck: {dict(life.struck.most_common())}",
            f"of which had happened all the same: {happened}",
            f"with a file left under a temporary name: {life.left}",
        ]
    )


def test_killed_writers(tmp_path):
    """After kills at random moments every acknowledged call is there, and the one under way as a
    whole or not at all.
    """
    killed(tmp_path, 20)


@pytest.mark.slow
def test_killed_writers_again_and_again(tmp_path, capsys):
    """So it is after very many kills, of which each kind of call has had several."""
    life, figures = killed(tmp_path, 500)
    with capsys.disabled():
        print("", figures, sep="\n")
    assert all(life.struck[kind] >= 5 for kind in KINDS)
    # Some had been written, most had not.
    assert 0 < life.happened.total() < life.struck.total() / 2
    assert life.left
