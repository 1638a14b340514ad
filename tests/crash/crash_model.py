"""What an index is to hold after the n-th operation of a seed, told without the library.

Both the process that is killed and the one that kills it work this out for themselves. So what was
acknowledged, and what was under way, is all that has to be passed on.
"""

import random
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

DIMENSION = 6
NAMES = [f"item {number:03}" for number in range(120)]
GROUPS = 6
KINDS = (
    *("upsert", "delete", "delete by filter", "update", "optimize", "compact", "rekey"),
    "reopen",
)
MODES = ("manual", "inline", "background")


def key_number(number):
    """The n-th key of the index."""
    return sha256(b"crash %d" % number).digest()


@dataclass
class Model:
    """The items, id to (vector, metadata, contents), in the order of their rows, and which key."""

    seed: int
    number: int = 0
    key: int = 0
    items: dict = field(default_factory=dict)

    def copy(self):
        return Model(self.seed, self.number, self.key, dict(self.items))

    def operation(self):
        """The next operation: its kind, and with what."""
        rng = random.Random(f"{self.seed} {self.number}")
        kind = rng.choice((*KINDS, "upsert"))
        size = rng.choice([1, 5, 40, 80])
        if kind == "upsert":
            return kind, self._new_items(rng, rng.sample(NAMES, size))
        if kind == "delete":
            return kind, rng.sample(NAMES, min(size, 40))
        if kind == "delete by filter":
            return kind, {"group": rng.randrange(GROUPS), "even": rng.random() < 0.5}
        if kind == "update":
            chosen = rng.sample(sorted(self.items), min(size, len(self.items)))
            held = self._new_items(rng, chosen)
            return kind, {name: (self.items[name][0], *held[name][1:]) for name in chosen}
        if kind == "rekey":
            return kind, self.key + 1
        return kind, rng.choice(MODES)

    def _new_items(self, rng, names):
        rows = np.random.default_rng([self.seed, self.number]).normal(size=(len(names), DIMENSION))
        return {
            name: (row.astype(np.float32), self._metadata(rng), self._contents(rng))
            for name, row in zip(names, rows, strict=True)
        }

    def _metadata(self, rng):
        text = "m" * rng.choice([0, 20, 900])
        return {"n": self.number, "group": rng.randrange(GROUPS), "even": rng.random() < 0.5} | (
            {"text": text} if text else {}
        )

    def _contents(self, rng):
        text = f"{self.number} " * rng.choice([1, 400, 20_000])
        return rng.choice([None, text, bytes(rng.choice([1, 2000]))])

    def matching(self, wanted):
        """The ids of the items whose metadata has these values, in order."""
        return [
            name
            for name, (_, metadata, _) in self.items.items()
            if all(metadata[field] == value for field, value in wanted.items())
        ]

    def apply(self, kind, argument):
        """Go on to what there is after an operation."""
        self.number += 1
        if kind == "rekey":
            self.key = argument
        doomed = ()
        if kind == "upsert":
            # An item whose vector changes gets a row of its own; with the same one it stays put.
            doomed = [n for n, (row, *_) in argument.items() if self._vector(n) != row.tobytes()]
        elif kind == "delete":
            doomed = argument
        elif kind == "delete by filter":
            doomed = self.matching(argument)
        for name in doomed:
            self.items.pop(name, None)
        if kind in {"upsert", "update"}:
            self.items.update(argument)

    def _vector(self, name):
        return self.items[name][0].tobytes() if name in self.items else None
