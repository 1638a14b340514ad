"""Works on one index, and is interrupted by signals at random moments: `interrupt_worker.py <folder>
<rounds> <seed>`. It catches each of them, looks at what has become of the call, and goes on.
"""

import faulthandler
import os
import random
import signal
import sys
import time
from collections import Counter

from crash_model import DIMENSION, GROUPS, Model, key_number
from crash_worker import NAME, do, load, often_indexing
from support import check_items, check_query, make_index

from cyborg_embedded import Client, ClosedError, WrongKeyError
from cyborg_embedded.locks import FileLock
from cyborg_embedded.registry import registry

LONGER = 1.3
PATIENCE = 30
"""Seconds after which a call is taken to wait for ever."""
LEFT = {".lock", f"{NAME}.cyb", f"{NAME}.cyb-lock", f"{NAME}.cyb-writer"}


def interrupted(work, delay):
    """Whether a call was interrupted, so many seconds after it began."""
    try:
        signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-5))
        work()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


class Life:
    """One index, its model, and the handle in use."""

    def __init__(self, folder, seed):
        self.rng = random.Random(seed)
        self.folder = folder
        self.client = Client(folder)
        make_index(folder, NAME, key_number(0), dimension=DIMENSION, page_size=1024)
        self.model = Model(seed)
        self.index = load(self.client, 0, "manual")
        self.takes, self.struck = {}, Counter()

    def round(self):
        """One operation and one question, both of which may be interrupted."""
        kind, argument = self.model.operation()
        after = self.model.copy()
        after.apply(kind, argument)
        stopped = self.attempt(kind, lambda: self.operate(kind, argument))
        if not stopped:
            self.model = after
        self.look(after)
        self.model.number = after.number
        question = self.rng.choice(["query", "get"])
        self.attempt(question, lambda: self.ask(question))
        self.look(self.model)

    def attempt(self, kind, work):
        """Make a call, and interrupt it at some moment."""
        usual = self.takes.setdefault(kind, 0.01)
        began = time.monotonic()
        stopped = interrupted(work, self.rng.random() * LONGER * usual)
        if not stopped:
            self.takes[kind] = (usual + time.monotonic() - began) / 2
        self.struck[kind] += stopped
        return stopped

    def operate(self, kind, argument):
        if kind == "reopen":
            self.index.close()
            self.index = load(self.client, self.model.key, argument)
        else:
            do(self.index, kind, argument)

    def ask(self, question):
        if question == "get":
            self.index.get(list(self.model.items))
        else:
            wanted = {"group": self.rng.randrange(GROUPS)}
            self.index.query([1.0] * DIMENSION, top_k=20, filters=wanted)

    def look(self, after):
        """See that all is as it was, or as it is after the call; open the index if it is closed."""
        try:
            len(self.index)
        except ClosedError:
            self.index.close()
            self.index, key = self.reopened({self.model.key, after.key})
            if key != self.model.key:
                self.model = after
        held = {item["id"]: item["metadata"] for item in self.index.get(self.index.list_ids())}
        if held != metadata_of(self.model):
            assert held == metadata_of(after), "neither before nor after"
            self.model = after
        if after.key != self.model.key and self.opens(after.key):
            self.model = after
        check_items(self.index, self.model.items)
        query = [self.rng.gauss(0, 1) for _ in range(DIMENSION)]
        check_query(self.index.query(query, top_k=3), query, 3, "euclidean", self.model.items)
        report = self.index.verify()
        assert report.ok, report

    def reopened(self, keys):
        """A new handle, and the one key of these that gives it."""
        [key] = [key for key in keys if self.opens(key)]
        return load(self.client, key, self.rng.choice(["manual", "background"])), key

    def opens(self, key):
        try:
            load(self.client, key, "manual").close()
        except WrongKeyError:
            return False
        return True

    def check_nothing_left(self):
        """Once it is closed, no file is open and no lock held, and there is no file left.

        A descriptor may be, of a file that was being opened: one without a lock; and a thread that
        `Thread.start` was interrupted in, which the standard library may leave waiting for ever.
        """
        self.index.close()
        assert not registry.files
        path = os.path.join(self.folder, f"{NAME}.cyb")
        for file in (path, path + "-writer"):
            with FileLock(file, create=file != path).held(exclusive=True, timeout=0):
                pass
        # What was interrupted while it removed a file has left it to the next creation.
        self.client.create_index("another", index_key=key_number(0)).close()
        self.client.delete_index("another", index_key=key_number(0))
        assert set(os.listdir(self.folder)) <= LEFT
        self.index = load(self.client, self.model.key, "background")


def metadata_of(model):
    return {name: metadata for name, (_, metadata, _) in model.items.items()}


def main(folder, rounds, seed):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    often_indexing()
    life = Life(folder, int(seed))
    for number in range(int(rounds)):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        life.round()
        if number % 10 == 0:
            life.check_nothing_left()
    life.check_nothing_left()
    life.index.close()
    for kind, count in life.struck.most_common():
        print(kind, count, sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
