"""Who holds the key of an index, changed in place: from each custody to each other one."""

from __future__ import annotations

import contextlib
import statistics
import time
from itertools import permutations
from typing import TYPE_CHECKING, Any

from common import INDEX
from ours import create, upsert

from cyborg_embedded import Client
from cyborg_embedded.kms import KeyFile, KeyManager, Passphrase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data import DataSet

    from cyborg_embedded.kms import Envelope, KeyContext

ROWS = 10_000
"""Rows of the index whose key goes from hand to hand, at most."""
SUPPLIED, PASSPHRASE, KEY_FILE = "supplied", "passphrase", "key file"
ARGON2 = {"memory_kib": 1024, "passes": 1, "lanes": 1}
"""Costs of Argon2id: small ones. The default ones are a matter of choice, not of this library."""


class Timed(KeyManager):
    """A key manager, and how long it has taken."""

    def __init__(self, manager: KeyManager) -> None:
        self.provider = manager.provider
        self.seconds = 0.0
        self._manager = manager

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        with self._timed():
            return self._manager.wrap(index_key, context)

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytes | bytearray:
        with self._timed():
            return self._manager.unwrap(envelope, context)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


def rewrapped(folder: Path, given: DataSet, repeat: int) -> dict[str, Any]:
    """From each custody to each other one: median milliseconds of the managers (`managers_ms`), and
    of all else, which is opening the index and one commit (`commit_ms`).
    """
    KeyFile.create(folder / "wrapping.key")
    managers = {
        PASSPHRASE: Timed(Passphrase("correct horse battery staple", **ARGON2)),
        KEY_FILE: Timed(KeyFile(folder / "wrapping.key")),
    }
    client = Client(folder / "rewrapped", kms=managers)
    key = client.generate_key()
    rows = min(ROWS, len(given.ids))
    with create(client, key, given, indexing="manual") as index:
        upsert(index, given, range(rows))
    custodies = (SUPPLIED, *managers)
    pairs = []
    now = SUPPLIED
    for source, target in permutations(custodies, 2):
        totals, alone = [], []
        for _ in range(repeat):
            if now != source:
                rewrap(client, now, source, key)
            for manager in managers.values():
                manager.seconds = 0.0
            start = time.perf_counter()
            rewrap(client, source, target, key)
            totals.append(time.perf_counter() - start)
            alone.append(sum(manager.seconds for manager in managers.values()))
            now = target
        pairs.append(
            {
                "from": source,
                "to": target,
                "commit_ms": 1000
                * statistics.median(a - b for a, b in zip(totals, alone, strict=True)),
                "managers_ms": 1000 * statistics.median(alone),
            }
        )
    if now != SUPPLIED:
        rewrap(client, now, SUPPLIED, key)
    with client.load_index(INDEX, index_key=key, indexing="manual") as index:
        right = len(index) == rows
    return {"rows": rows, "pairs": pairs, "right": right}


def rewrap(client: Client, source: str, target: str, key: bytes) -> None:
    """Put the key of the index into other hands."""
    access = {"index_key": key} if source == SUPPLIED else {}
    if target != SUPPLIED:
        client.rewrap_index(INDEX, to_kms=target, **access)
    elif client.rewrap_index(INDEX, to_supplied=True, **access) != key:
        message = "the key has changed on the way"
        raise RuntimeError(message)
