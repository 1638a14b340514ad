"""What the suites about `rekey` and `compact` share: indexes under each kind of custody, items that
differ in everything, and what may lie in a folder.
"""

import os
from hashlib import sha256
from pathlib import Path

import numpy as np

from cyborg_embedded import Client, KeyManagerError
from cyborg_embedded.kms import Envelope, KeyManager, Passphrase

NAME = "notes"
WAYS = ("rekey", "rekey managed", "rekey managed by two", "compact", "compact managed")
"""The ways to have a new file made in place of the one that is there."""
LEFT = {".lock", f"{NAME}.cyb", f"{NAME}.cyb-lock", f"{NAME}.cyb-writer"}
"""All that a folder of one index has."""
ID_BYTES = (1, 7, 64, 255, 1024)
METADATA = (
    lambda number: None,
    lambda number: {"n": number},
    lambda number: {"n": number, "kind": "ключ", "parts": [1, {"a": None}, True]},
    lambda number: {"n": number, "kind": "long", "text": "x" * (600 + number)},
)
CONTENTS = (None, "", "short ☃", b"", b"\x00\xff", "t" * 512, "t" * 513, b"\x01" * 3000)


def key_number(number):
    """The n-th key of a suite."""
    return sha256(b"key %d" % number).digest()


def passphrase(text):
    """A manager that costs next to nothing."""
    return Passphrase(text, memory_kib=64, passes=1)


class Custodian:
    """One index, however its key is held, and how a new file is made for it."""

    def __init__(self, folder, way="rekey"):
        self.way, self.number = way, 0
        self.client = Client(folder, kms={"owner": passphrase("six words"), "spare": Kept()})
        self.managed = "managed" in way

    @property
    def access(self):
        """What opens the index now."""
        return {} if self.managed else {"index_key": key_number(self.number)}

    def create(self, **options):
        options.setdefault("indexing", "manual")
        access = {"kms_name": "owner"} if self.managed else self.access
        index = self.client.create_index(NAME, **access, **options)
        if self.way.endswith("two"):
            self.client.add_key_manager(NAME, "spare")
        return index

    def load(self, **options):
        options.setdefault("indexing", "manual")
        return self.client.load_index(NAME, **self.access, **options)

    def renew(self, index, **options):
        """Have a new file made."""
        if self.way.startswith("compact"):
            index.compact(**options)
        elif self.managed:
            index.rekey(**options)
        else:
            index.rekey(key_number(self.number + 1), **options)
            self.number += 1


class Kept(KeyManager):
    """Keeps in memory what it wraps, and fails with `error` where that is set."""

    provider = "kept"

    def __init__(self):
        self.wrapped, self.error = [], None

    def wrap(self, index_key, context):
        self.answer()
        self.wrapped.append(bytes(index_key))
        return Envelope(self.provider, len(self.wrapped).to_bytes(4, "big"))

    def unwrap(self, envelope, context):
        self.answer()
        return self.wrapped[int.from_bytes(envelope.ciphertext, "big") - 1]

    def answer(self):
        if self.error is not None:
            raise self.error


REFUSED = KeyManagerError("no", refused=True)


def varied(dimension, count, seed=0):
    """Items that differ in everything: id to (vector, metadata, contents)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    items = {}
    for number, vector in enumerate(vectors):
        length = ID_BYTES[number % len(ID_BYTES)]
        if length == 1 and number < 300:
            item_id = chr(33 + number // len(ID_BYTES))
        else:
            item_id = f"{number:07}".ljust(max(7, length), "x")
        metadata = METADATA[number // 2 % len(METADATA)](number)
        items[item_id] = (vector, metadata, CONTENTS[(number + number // 8) % len(CONTENTS)])
    return items


def put(index, items, batch=200):
    """Upsert items, some at a time."""
    ids = list(items)
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        vectors, metadata, contents = zip(*(items[item] for item in part), strict=True)
        index.upsert(part, np.array(vectors), list(metadata), list(contents))


def file_of(folder):
    return Path(folder) / f"{NAME}.cyb"


def bytes_of(folder):
    """The file of the index, to the last byte."""
    return file_of(folder).read_bytes()


def files(folder):
    return set(os.listdir(folder))


def temporary(folder):
    """The files with a temporary name."""
    return {file for file in os.listdir(folder) if file.startswith(".new-")}
