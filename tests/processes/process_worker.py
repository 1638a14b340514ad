"""The processes beside that of a test: writers and readers of an index that goes through numbered
states (numbered.py). What is to be done comes by lines on standard input, where anything does.
"""

import itertools
import os
import sys
import time

from numbered import ASK, Counter, commit, opened, state_of
from support import KEY

from cyborg_embedded import Client, environment


def write(folder, counter):
    """Commit one state after another, and say so, until killed."""
    acknowledged = Counter(counter)
    with opened(folder) as index:
        # The one before may have been killed after its commit, before LMDB's lock file knew of it:
        # whoever writes next finds that out, and what was read before then is one commit behind.
        index.delete(["nobody"])
        acknowledged.write(state_of(index))
        while True:
            acknowledged.write(commit_next(index))


def commit_next(index):
    """Make the next state; its number."""
    number = state_of(index) + 1
    commit(index, number)
    return number


def write_when_told(folder):
    """Commit the next state for each line."""
    with opened(folder) as index:
        for _ in sys.stdin:
            print(commit_next(index), flush=True)


def read(folder, counter, seconds):
    """Ask in all ways. Every answer is of one state, none older than what was acknowledged before
    or seen before, none newer than what was begun.
    """
    acknowledged = Counter(counter)
    low, asked = 0, 0
    with opened(folder, read_only=True) as index:
        print("ready", flush=True)
        until = time.monotonic() + float(seconds)
        for ask in itertools.cycle(ASK):
            if time.monotonic() > until:
                break
            before = acknowledged.read()
            states = {state for state in ask(index) if state >= max(low, before)}
            after = acknowledged.read()
            assert states, f"{ask.__name__} went back behind {max(low, before)}"
            # A commit may be made and not acknowledged yet.
            assert min(states) <= after + 1, f"{ask.__name__} is ahead of {after}"
            low, asked = min(states), asked + 1
    print(asked, low, flush=True)


def read_when_told(folder):
    """Say the newest state that the next call of each kind may be of."""
    with opened(folder, read_only=True) as index:
        for line in sys.stdin:
            ask = ASK[int(line)]
            print(*sorted(ask(index)), flush=True)


def hold(folder):
    """Be the one writer until standard input ends."""
    with opened(folder) as index, index._session.writing():
        print("holding", flush=True)
        sys.stdin.read()
    print("done", flush=True)


def die_reading(folder, count):
    """Processes that are killed inside a read transaction, one after another."""
    for _ in range(int(count)):
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            index = Client(folder).load_index("numbered", index_key=KEY, read_only=True)
            with index._session.read():
                os.write(tell, b"x")
                time.sleep(60)
        # Closed first: a child that fails then says nothing, instead of nothing being heard for ever.
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
    print("dead", flush=True)


def small(folder, size):
    """Commit, for each line, an item of so many bytes, in a map that is small at first."""
    environment.INITIAL_MAP_BYTES = int(size)
    with opened(folder) as index:
        for line in sys.stdin:
            name, length = line.split()
            index.upsert([name], [[1.0] * 6], None, [name * int(length)])
            print(index.sequence, flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    {
        "write": write,
        "write when told": write_when_told,
        "read": read,
        "read when told": read_when_told,
        "hold": hold,
        "die reading": die_reading,
        "small": small,
    }[role](*rest)
