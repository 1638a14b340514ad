"""Child processes of the rewrap suite: one that uses an index, one that rewraps it without end."""

import os
import sys

from support import KEY, contents_of

from cyborg_embedded import Client
from cyborg_embedded.kms import KeyFile


def managers(folder):
    """The key managers of parent and children: secrets in files."""
    return {slot: KeyFile(os.path.join(folder, slot)) for slot in ("one", "two")}


def use(folder, secrets):
    """For each line of input: write an item of that name, and say what is in the index."""
    with Client(folder, kms=managers(secrets)).load_index("notes") as index:
        print("ready", flush=True)
        for line in sys.stdin:
            index.upsert([line.strip()], [[1.0] * index.dimension])
            print(len(contents_of(index)), index.sequence, flush=True)


def rewrap(folder, secrets):
    """Put the key of the index from hand to hand, until somebody kills the process."""
    client = Client(folder, kms=managers(secrets))
    while True:
        client.rewrap_index("notes", index_key=KEY, to_kms="one")
        print("one", flush=True)
        client.add_key_manager("notes", "two")
        client.remove_key_manager("notes", "one")
        print("two", flush=True)
        assert client.rewrap_index("notes", to_supplied=True) == KEY
        print("supplied", flush=True)


if __name__ == "__main__":
    {"use": use, "rewrap": rewrap}[sys.argv[1]](*sys.argv[2:])
