"""What happens to the file of an index, while its items stay what they are."""

import os

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from index_handles import IndexHandles, key_number, whos
from index_worker import NAME
from support import check_items, raw

from cyborg_embedded import (
    ClosedError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    WrongKeyError,
)
from cyborg_embedded.model import PageKind

DERIVED = [PageKind.NAVIGATION, PageKind.GRAPH, PageKind.PROJECTION, PageKind.COLUMNS]

slots = st.sampled_from(["file", "words"])


class Keeping(IndexHandles):
    """The graph and the columns, handles that come and go, and new files in place of the old."""

    @rule(who=whos)
    def optimize(self, who):
        handle = self.of(who)
        handle.optimize()
        described = handle.describe()
        assert described["indexed_rows"] == described["rows"] == len(self.model.items)
        assert described["sequence"] - self.model.sequence in {0, 1}
        self.model.sequence = described["sequence"]
        self.harmed = False

    @rule(kinds=st.sets(st.sampled_from(DERIVED), min_size=1))
    def drop_what_is_derived(self, kinds):
        """Pages of the graph and of the columns go, as long as nobody has the file open."""
        self.close_all()
        with raw(self.path) as environment, environment.begin(write=True) as txn:
            keys = [bytes(key) for key in txn.cursor().iternext(values=False)]
            gone = [key for key in keys if key[0] in kinds]
            for key in gone:
                txn.delete(key)
        self.harmed |= bool(gone)
        self.load("first", "second", "idle")

    @rule(who=whos, cache_bytes=st.sampled_from([None, 200]))
    def reopen(self, who, cache_bytes):
        if who == "process":
            self.close_process()
            return
        self.handles[who].close()
        self.load(who, cache_bytes=cache_bytes)

    @rule()
    def reopen_all(self):
        self.close_all()
        self.load("first", "second", "idle")
        check_items(self.first, self.model.items)

    @precondition(lambda self: not self.harmed)
    @rule()
    def restore(self):
        """A backup takes the place of the index."""
        before = self.first.commit_id
        copy = self.folder / "backup"
        self.first.backup(copy)
        self.close_all()
        self.client.delete_index(NAME, **self.access)
        self.client.restore_index(NAME, copy, **self.access, check=False)
        os.remove(copy)
        self.load("first", "second", "idle")
        assert self.first.commit_id == before

    def renewed(self):
        """What is so after a new file has taken the place of the old one."""
        for each in ("second", "idle"):
            with pytest.raises(ClosedError):
                self.handles[each].list_ids()
        assert self.first.sequence > self.model.sequence
        self.model.sequence = self.first.sequence
        assert self.first.describe()["deleted_rows"] == 0
        self.harmed = False
        self.load("second", "idle")
        check_items(self.first, self.model.items)

    @rule()
    def compact(self):
        self.close_process()
        self.first.compact()
        self.renewed()

    @rule(left=slots)
    def rekey(self, left):
        """A new key, and where key managers hold it, maybe one of them less."""
        self.close_process()
        if self.slots:
            dropped = [slot for slot in self.slots if slot != left][: len(self.slots) - 1]
            self.first.rekey(drop_managers=dropped)
            self.slots = [slot for slot in self.slots if slot not in dropped]
            self.keys.append(self.client.export_key(NAME))
            for slot in dropped:
                self.refuse(KeyManagerError, kms_name=slot)
        else:
            self.keys.append(key_number(len(self.keys)))
            self.first.rekey(self.keys[-1])
            self.refuse(WrongKeyError, index_key=self.keys[-2])
        assert len(set(self.keys)) == len(self.keys)
        self.renewed()


class Custody(IndexHandles):
    """Who holds the key."""

    @rule(slot=slots)
    def rewrap_to_a_manager(self, slot):
        self.rewrap(slot)
        self.refuse(InvalidInputError, index_key=self.keys[-1])

    @rule()
    def rewrap_to_the_application(self):
        assert self.client.rewrap_index(NAME, **self.access, to_supplied=True) == self.keys[-1]
        self.model.sequence += bool(self.slots)
        self.slots = []
        self.refuse(KeyRequiredError)
        for key in self.keys[:-1]:
            self.refuse(WrongKeyError, index_key=key)

    @precondition(lambda self: self.slots)
    @rule(slot=slots)
    def add_key_manager(self, slot):
        self.add(slot)
        assert list(self.client.describe_index(NAME)["key_managers"]) == self.slots
        assert self.client.export_key(NAME, kms_name=slot) == self.keys[-1]

    @precondition(lambda self: len(self.slots) > 1)
    @rule(slot=slots)
    def remove_key_manager(self, slot):
        self.client.remove_key_manager(NAME, slot)
        self.model.sequence += 1
        self.slots.remove(slot)
        self.refuse(KeyManagerError, kms_name=slot)
