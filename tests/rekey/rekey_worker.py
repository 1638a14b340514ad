"""Another process beside that of a test, or one that is killed on the way. What is to be done next
comes on standard input, a line each; what came of it goes to standard output.
"""

import os
import signal
import sys

from rekey_harness import NAME, Custodian, key_number

from cyborg_embedded import Client, CyborgError, folder, rekeying, rewriting, store


def attempt(call):
    """Say what came of a call."""
    try:
        answer = call()
    except CyborgError as error:
        answer = type(error).__name__
    print(answer, flush=True)


def beside(place):
    """Do what each line says: `open <number of the key> <seconds>`, `ids`, `compact`, `close`,
    `delete [<seconds>]`, `create <name>`.
    """
    client, index = Client(place), None

    def load(number, seconds):
        nonlocal index
        index = client.load_index(
            NAME,
            index_key=key_number(int(number)),
            lock_timeout=float(seconds),
            indexing="manual",
        )
        return len(index)

    def compact():
        index._session._lock_timeout = 0.2
        index.compact()

    def close():
        index.close()

    for line in sys.stdin:
        word, *rest = line.split()
        attempt(
            {
                "open": lambda rest=rest: load(*rest),
                "ids": lambda: len(index.list_ids()),
                "compact": compact,
                "close": close,
                "delete": lambda rest=rest: client.delete_index(
                    NAME, index_key=key_number(0), lock_timeout=float(rest[0] if rest else 0.2)
                ),
                "create": lambda rest=rest: client.create_index(
                    rest[0], index_key=key_number(0)
                ).close(),
            }[word]
        )


def renew_for_ever(place, number):
    """Rekey from key to key, in small blocks, with a compaction after each; say what begins and
    ends.
    """
    rewriting.BLOCK_BYTES = 1
    custodian = Custodian(place)
    custodian.number = int(number)
    with custodian.load() as index:
        while True:
            print("begin", custodian.number, flush=True)
            custodian.renew(index)
            print("end", custodian.number, flush=True)
            index.compact()


def die_at(place, step):
    """Kill this process at one step of a rekey."""
    rewriting.BLOCK_BYTES = 1

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(owner, name, *, after=False):
        real = getattr(owner, name)

        def replaced(*arguments, **options):
            if not after:
                die()
            real(*arguments, **options)
            die()

        setattr(owner, name, replaced)

    custodian = Custodian(place)
    index = custodian.load()
    if step == "first commit":
        dying(store.PageStore, "begin_file", after=True)
    elif step == "block":
        dying(rewriting, "append_copied")
    elif step == "check":
        dying(rekeying, "check_copy")
    elif step == "lock file":
        dying(folder, "remove_lmdb_lock_file", after=True)
    elif step == "rename":
        dying(folder.os, "replace", after=True)
    elif step == "sync":
        dying(folder.Folder, "replace", after=True)
    custodian.renew(index)


if __name__ == "__main__":
    {"beside": beside, "for ever": renew_for_ever, "die at": die_at}[sys.argv[1]](*sys.argv[2:])
