"""What an index is to answer: a dict of items, and float64 arithmetic. Nothing of the library."""

import numpy as np
from filter_oracle import ordered, satisfies
from support import check_query


class IndexModel:
    """The items of an index, the order in which their vectors were written, and its commits."""

    def __init__(self, metric, precision):
        self.metric, self.precision = metric, precision
        self.items = {}
        """Id to (vector, metadata, contents)."""
        self.order = []
        self.sequence = 1

    def apply(self, call, argument):
        """One change of an index, by its name."""
        return {"upsert": self.upsert, "delete": self.delete}[call](argument)

    def upsert(self, batch):
        """Of equal ids the last one counts; who keeps his vector keeps his place."""
        last = {item["id"]: number for number, item in enumerate(batch)}
        for number, item in enumerate(batch):
            name = item["id"]
            if last[name] != number:
                continue
            row = np.asarray(item["vector"], np.float32).astype(self.precision).astype(np.float32)
            if name not in self.items or self.items[name][0].tobytes() != row.tobytes():
                self.order = [known for known in self.order if known != name] + [name]
            self.items[name] = (row, item["metadata"], item["contents"])
        self.sequence += bool(batch)

    def delete(self, names):
        """Returns how many there were."""
        known = set(names) & set(self.items)
        self.items = {name: item for name, item in self.items.items() if name not in known}
        self.order = [name for name in self.order if name not in known]
        self.sequence += bool(known)
        return len(known)

    def matching(self, filters=None):
        """The items that satisfy a filter, in their order."""
        return {
            name: self.items[name] for name in self.order if satisfies(filters, self.items[name][1])
        }

    def sorted_by(self, field, filters, *, ascending):
        """The ids of the items that satisfy a filter, in the order of a field."""
        described = [(name, item[1]) for name, item in self.matching(filters).items()]
        return ordered(described, field, ascending=ascending)

    def check_nearest(self, results, query, k, filters=None, *, exact=True):
        """Assert that `results` are the k nearest of the items that satisfy a filter; or, where
        that is not promised, as many of those items, each at its distance, in order.
        """
        items = self.matching(filters)
        assert len(results) == min(k, len(items))
        if not exact:
            items = {result["id"]: items[result["id"]] for result in results}
        check_query(results, query, k, self.metric, items)
