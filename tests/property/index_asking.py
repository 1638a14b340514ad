"""What is asked of an index."""

from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import rule
from index_handles import WIDE, IndexHandles, whos
from index_strategies import NAMES, counts, fields, filters, vectors
from support import plain


class Asking(IndexHandles):
    """Queries, with filters and without, and everything else that changes nothing."""

    @rule(who=whos, query=vectors, k=counts, asked=filters, ef=st.sampled_from([None, WIDE]))
    def query(self, who, query, k, asked, ef):
        """The same by one, by two, by an exact scan; and all the items that it is asked among."""
        handle, wanted = self.of(who), self.model.matching(asked)
        assert handle.count(asked) == len(wanted)
        assert handle.list_ids(asked) == list(wanted)
        for among in (None, asked):
            results = self.search(who, query, k, among, ef)
            search = partial(handle.query, top_k=k, filters=among)
            batch = search([query, query], include=["distance"])
            if among is None and ef is None:
                found = [{name: result[name] for name in ("id", "distance")} for result in results]
                assert batch == [found, found]
            for again in batch:
                self.model.check_nearest(again, query, k, among, exact=not self.projected)
            self.model.check_nearest(search(query, recall=1), query, k, among)

    @rule(who=whos, asked=st.lists(st.sampled_from(NAMES), max_size=6))
    def get(self, who, asked):
        got = self.of(who).get(asked)
        items = self.model.items
        assert [item["id"] for item in got] == [name for name in asked if name in items]
        for item in got:
            row, described, held = items[item["id"]]
            assert plain(item["vector"]) == plain(row)
            assert (item["metadata"], item["contents"]) == (described, held)

    @rule(
        who=whos,
        asked=st.none() | filters,
        field=st.none() | fields,
        ascending=st.booleans(),
        k=st.none() | counts,
        offset=st.integers(0, 3),
    )
    def query_metadata(self, who, asked, field, ascending, k, offset):
        wanted = self.model.sorted_by(field, asked, ascending=ascending or field is None)[offset:]
        assert self.of(who).query_metadata(
            asked, top_k=k, offset=offset, order_by=field, ascending=ascending
        ) == [{"id": name, "metadata": self.model.items[name][1]} for name in wanted[:k]]
