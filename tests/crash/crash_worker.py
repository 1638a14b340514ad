"""Works on indexes until somebody kills it. Each step is told before it begins, and when it is done.

To start a process takes longer than most of what it does before it is killed. So one process waits
for lines on standard input, forks a child for each, which says who it is, and says how it ended.
"""

import contextlib
import os
import pickle
import sys
import time

import numpy as np
from crash_model import key_number
from support import KEY

from cyborg_embedded import Client, background, building, indexer

NAME = "notes"


def say(*words):
    """A line in one piece: no kill cuts it, and none is kept back."""
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


@contextlib.contextmanager
def told(number, kind):
    """A step, told before and after: how long it took, and what else is put into the list."""
    say("begin", number, kind)
    began, more = time.monotonic(), []
    yield more
    say("end", number, time.monotonic() - began, *more)


def load(client, key, mode):
    return client.load_index(NAME, index_key=key_number(key), indexing=mode, lock_timeout=5)


def often_indexing():
    """Have few items brought into the graph, whenever there is a pause."""
    for name, value in (("FIRST_ROWS", 60), ("TAIL_ROWS", 10)):
        setattr(indexer, name, value)
    building.BLOCK_ROWS = 16
    background.PAUSE_SECONDS = 0.0
    background.POLL_SECONDS = 0.001


def change(folder, given):
    """Go on from a model, one operation after another, on one handle and the ones after it."""
    often_indexing()
    with open(given, "rb") as file:
        model = pickle.load(file)  # noqa: S301 - of our own making
    client = Client(folder)
    index = load(client, model.key, "manual")
    while True:
        kind, argument = model.operation()
        with told(model.number, kind) as more:
            if kind == "reopen":
                index.close()
                index = load(client, model.key, argument)
            else:
                do(index, kind, argument)
            more.append(index.sequence)
        model.apply(kind, argument)


def do(index, kind, argument):
    """One operation on an open handle."""
    if kind in {"upsert", "update"}:
        vectors, metadata, contents = zip(*argument.values(), strict=True) if argument else [()] * 3
        index.upsert(list(argument), np.array(vectors), list(metadata), list(contents))
    elif kind == "delete":
        index.delete(argument)
    elif kind == "delete by filter":
        index.delete(filters=argument)
    elif kind == "rekey":
        index.rekey(key_number(argument))
    else:
        getattr(index, kind)()


def come_and_go(folder, first):
    """Indexes that are made, filled and, two of three, deleted."""
    client = Client(folder)
    number = int(first)
    while True:
        name = f"index {number}"
        with told(number, "create"):
            index = client.create_index(name, index_key=KEY, dimension=2)
        with told(number, "fill"):
            index.upsert(["a", "b"], [[7, number], [1, 2]], None, ["text", "x" * 5000])
            index.close()
        if number % 3:
            with told(number, "remove"):
                client.delete_index(name, index_key=KEY)
        number += 1


def fork_for_each_line():
    for line in sys.stdin:
        role, *arguments = line.rstrip("\n").split("\t")
        child = os.fork()
        if not child:
            say("child", os.getpid())
            {"change": change, "come and go": come_and_go}[role](*arguments)
        _, status = os.waitpid(child, 0)
        say("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    fork_for_each_line()
