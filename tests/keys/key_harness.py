"""What the suites of key management share: key managers that do as they are told, and looking at
files byte by byte.
"""

import os
import secrets
import threading
import traceback

import numpy as np

from cyborg_embedded import registry
from cyborg_embedded.errors import KeyManagerError
from cyborg_embedded.kms import Envelope, KeyFile, KeyManager, Passphrase

DIMENSION = 8
HEADER = b"\x00"
ROOT = b"\x01" + bytes(8)


class Vault(KeyManager):
    """Keeps index keys in memory behind random tokens. `trouble` makes the exception that it raises
    instead of giving one, `instead` what it gives in the place of a key.
    """

    provider = "vault"

    def __init__(self, *, key_ttl=None, key_grace=3600.0):
        self.key_ttl, self.key_grace = key_ttl, key_grace
        self.kept = {}
        self.trouble = self.instead = None
        self.asked = []
        """The thread of each unwrap."""
        self.wrapped = 0

    def wrap(self, index_key, context):
        self.wrapped += 1
        token = secrets.token_bytes(32)
        self.kept[token] = (context.index_id, bytes(index_key))
        return Envelope(self.provider, token)

    def unwrap(self, envelope, context):
        self.asked.append(threading.current_thread())
        index_id, key = self.kept.get(envelope.ciphertext, (None, None))
        if self.trouble is not None:
            raise self.trouble(key)
        if self.instead is not None:
            return self.instead(key)
        if index_id != context.index_id:
            raise refusal()
        return bytearray(key)


def refusal(_=None):
    return KeyManagerError("access was taken away", refused=True)


def outage(_=None):
    return KeyManagerError("nobody is there")


def passphrase(text="correct horse"):
    """A passphrase whose guesses cost next to nothing."""
    return Passphrase(text, memory_kib=64, passes=1, lanes=1)


def key_file(folder, name="secret"):
    return KeyFile.create(folder / name)


def fill(index, count=20, *, seed=1):
    """Upsert some items."""
    index.upsert(
        [f"i{n}" for n in range(count)],
        np.random.default_rng(seed).normal(size=(count, DIMENSION)),
        [{"n": n} for n in range(count)],
        [f"contents {n}" for n in range(count)],
    )


def bytes_of(folder):
    """Every index file of a folder, byte for byte."""
    return {path.name: path.read_bytes() for path in folder.glob("*.cyb")}


def open_files(folder):
    """The index files of a folder that this process has open."""
    paths = [shared.environment.path for shared in registry.registry.files.values()]
    return [path for path in paths if os.path.dirname(path) == str(folder)]


def told(error):
    """All that an error tells: itself, every error behind it, and the traceback."""
    parts, waiting, seen = traceback.format_exception(error), [error], set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            parts += [str(each), repr(each), repr(each.args), repr(vars(each))]
            waiting += [each.__cause__, each.__context__]
    return "\n".join(parts)
