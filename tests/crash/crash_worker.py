"""What is done to an index until somebody kills the process, and what must be there afterwards.

The n-th operation of a seed is always the same, so that the one who kills can tell from the
acknowledged operations alone what the index has to hold.
"""

import random
import sys

import numpy as np
from support import KEY

from cyborg_embedded import Client

DIMENSION = 6
NAMES = [f"item {number:03}" for number in range(120)]


def operation(seed, number):
    """The n-th operation: ("upsert", items), ("delete", names) or ("optimize", None)."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(["upsert"] * 5 + ["delete", "optimize"])
    chosen = rng.sample(NAMES, rng.choice([1, 5, 40, 80]))
    if kind == "delete":
        return kind, chosen
    if kind == "optimize":
        return kind, None
    rows = np.random.default_rng([seed, number]).normal(size=(len(chosen), DIMENSION))
    items = {
        name: (
            row.astype(np.float32),
            {"operation": number},
            [None, f"{number} " * rng.choice([1, 400, 20_000]), b"\x00" * rng.choice([1, 2000])][
                rng.randrange(3)
            ],
        )
        for name, row in zip(chosen, rows, strict=True)
    }
    return kind, items


def apply(items, kind, argument):
    """The items after one more operation, as a new dict."""
    if kind == "upsert":
        return {**items, **argument}
    if kind == "delete":
        return {name: item for name, item in items.items() if name not in argument}
    return items


def change(folder, seed, first):
    """Operations on one index, each acknowledged when it has returned."""
    with Client(folder).load_index("notes", index_key=KEY) as index:
        number = first
        while True:
            kind, argument = operation(seed, number)
            if kind == "upsert":
                vectors, metadata, contents = zip(*argument.values(), strict=True)
                index.upsert(list(argument), np.array(vectors), list(metadata), list(contents))
            elif kind == "delete":
                index.delete(argument)
            else:
                index.optimize()
            print(number, flush=True)
            number += 1


def come_and_go(folder, seed, first):
    """Indexes that are made, filled and deleted, each step acknowledged."""
    client = Client(folder)
    number = first
    while True:
        name = f"index {number}"
        with client.create_index(name, index_key=KEY, dimension=2) as index:
            print("created", name, flush=True)
            index.upsert(["a", "b"], [[seed, number], [1, 2]], None, ["text", "x" * 5000])
            print("filled", name, flush=True)
        if number % 3:
            client.delete_index(name, index_key=KEY)
            print("deleted", name, flush=True)
        number += 1


if __name__ == "__main__":
    role, place, given, start = sys.argv[1:]
    {"change": change, "come_and_go": come_and_go}[role](place, int(given), int(start))
