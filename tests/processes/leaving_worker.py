"""A process that ends while a graph is being made behind its back and a thread of it upserts."""

import os
import sys
import threading
import time

import numpy as np
from support import KEY

from cyborg_embedded import Client, background, building, indexer
from cyborg_embedded.navigator import Navigator

for name, value in (("FIRST_ROWS", 200), ("TAIL_ROWS", 20)):
    setattr(indexer, name, value)
building.BLOCK_ROWS = 20
background.PAUSE_SECONDS = 0.0
making = threading.Event()
real = Navigator.add_stored


def slowly(*arguments):
    """A step towards the graph: two seconds and more for all of them."""
    making.set()
    time.sleep(0.05)
    return real(*arguments)


Navigator.add_stored = slowly


def upsert_for_ever(index, began):
    """One item after another, each told when it is there."""
    number = 0
    while True:
        index.upsert([f"more {number}"], [[1.0, number, 2.0, 3.0]])
        os.write(1, f"more {number}\n".encode())
        number += 1
        if number == 3:
            began.set()


def leave(how):
    if how == "exit":
        sys.exit(3)
    if how == "error":
        message = "of the application"
        raise RuntimeError(message)
    if how == "at once":
        os._exit(4)


def main(folder, how, delay):
    client = Client(folder)
    building_index = client.create_index("built", index_key=KEY)
    building_index.upsert(
        [f"row {number}" for number in range(1000)],
        np.random.default_rng(1).normal(size=(1000, 8)),
    )
    index = client.create_index("written", index_key=KEY, dimension=4)
    began = threading.Event()
    threading.Thread(target=upsert_for_ever, args=(index, began), daemon=True).start()
    assert making.wait(30)
    assert began.wait(30)
    time.sleep(float(delay))
    leave(how)


if __name__ == "__main__":
    main(*sys.argv[1:])
