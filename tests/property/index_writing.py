"""What changes the items of an index."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from index_handles import IndexHandles, whos
from index_strategies import changes, contents, filters, metadata
from support import check_items


class Writing(IndexHandles):
    """Upserts and deletions, through any handle, and by somebody who does not live long."""

    def apply(self, who, change):
        """One change, through a handle and to the model."""
        call, argument = change
        returned = getattr(self.of(who), call)(argument)
        assert returned == self.model.apply(*change)

    @rule(made=st.lists(st.tuples(whos, changes), min_size=1, max_size=4))
    def change(self, made):
        for who, change in made:
            self.apply(who, change)

    @rule(who=whos, seed=st.integers(0, 1000), first=st.integers(0, 50))
    def upsert_many(self, who, seed, first):
        self.fill(who, seed, first)

    @precondition(lambda self: self.model.items)
    @rule(who=whos, data=st.data(), described=metadata, held=contents)
    def update_without_moving(self, who, data, described, held):
        name = data.draw(st.sampled_from(sorted(self.model.items)))
        vector = self.model.items[name][0]
        rows = self.first.describe()["deleted_rows"]
        item = {"id": name, "vector": vector, "metadata": described, "contents": held}
        self.apply(who, ("upsert", [item]))
        assert self.first.describe()["deleted_rows"] == rows

    @rule(who=whos, asked=filters.filter(bool))
    def delete_matching(self, who, asked):
        deleted = self.of(who).delete(filters=asked)
        assert deleted == self.model.delete(self.model.matching(asked))

    @rule()
    def delete_everything(self):
        self.apply("first", ("delete", self.first.list_ids()))

    @rule(
        done=st.lists(changes, min_size=1, max_size=3),
        begun=st.none() | changes,
        delay=st.sampled_from([0.0, 0.001, 0.002, 0.005, 0.01]),
    )
    def crash(self, done, begun, delay):
        """Somebody dies, maybe in the middle of a change, which is there whole or not at all."""
        options = self.options
        acknowledged = self.process.ask("crash", str(self.folder), options, done, begun, delay)
        for change in done:
            self.model.apply(*change)
        # Killed after its commit, but before LMDB's lock file knew of it: the next writer finds out.
        self.first.delete(["nobody"])
        if begun is not None and self.first.sequence == acknowledged:
            check_items(self.first, self.model.items)
            # Made up for, so that what follows does not depend on when it was killed.
            call, argument = begun
            getattr(self.first, call)(argument)
        if begun is not None:
            self.model.apply(*begun)
        check_items(self.first, self.model.items)
