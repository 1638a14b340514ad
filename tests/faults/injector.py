"""Fails the n-th call of a kind, of those that reach the disk, memory, locks or ciphers."""

import errno
import os
import threading
from contextlib import contextmanager

import hnswlib
import lmdb

from cyborg_embedded.aead import Opener, Sealer
from cyborg_embedded.environment import Environment
from cyborg_embedded.locks import FileLock
from cyborg_embedded.transactions import WriteTransaction

CALLS = {
    "put": (WriteTransaction, "put"),
    "delete": (WriteTransaction, "delete"),
    "read": (Environment, "read"),
    "writer": (Environment, "writer"),
    "write": (Environment, "write"),
    "copy": (Environment, "copy"),
    "lock": (FileLock, "acquire"),
    "fsync": (os, "fsync"),
    "replace": (os, "replace"),
    "rename": (os, "rename"),
    "link": (os, "link"),
    "add items": (hnswlib.Index, "add_items"),
    "seal": (Sealer, "seal"),
    "open": (Opener, "open"),
    "open into": (Opener, "open_each_into"),
}
"""Calls that fail before they have done anything."""
POINTS = (*CALLS, "commit", "committed", "synced", "replaced")
"""`commit` fails in place of LMDB's commit; the last three fail when the call has done its work."""
AFTERWARDS = {"synced": (os, "fsync"), "replaced": (os, "replace")}


def lmdb_error():
    """One as LMDB's binding raises them."""
    error = lmdb.DiskError("injected")
    error.code = errno.EIO
    return error


ERRORS = (
    lambda: OSError(errno.EIO, "injected"),
    lmdb_error,
    lambda: MemoryError("injected"),
    lambda: KeyboardInterrupt("injected"),
    lambda: OSError(errno.ENOSPC, "injected"),
)


class Injector:
    """Counts the calls of one kind, of all threads, and has one of them fail."""

    def __init__(self, point):
        self.point = point
        self.count = 0
        self.fails_at = None
        self.error = None
        self._lock = threading.Lock()

    def step(self):
        """One more call."""
        with self._lock:
            self.count += 1
            if self.count != self.fails_at:
                return
        raise self.error

    @contextmanager
    def active(self, monkeypatch, fails_at=None, error=None):
        """Count from 0, and have call `fails_at` (1 is the first) fail with `error`."""
        self.count, self.fails_at, self.error = 0, fails_at, error
        with monkeypatch.context() as patch:
            if self.point in CALLS:
                self._before(patch, *CALLS[self.point])
            elif self.point in AFTERWARDS:
                self._after(patch, *AFTERWARDS[self.point])
            else:
                self._commits(patch)
            yield

    def _before(self, patch, owner, name):
        call = getattr(owner, name)

        def failing(*arguments, **options):
            self.step()
            return call(*arguments, **options)

        patch.setattr(owner, name, failing)

    def _after(self, patch, owner, name):
        call = getattr(owner, name)

        def failing(*arguments, **options):
            result = call(*arguments, **options)
            self.step()
            return result

        patch.setattr(owner, name, failing)

    def _commits(self, patch):
        live = Environment._live
        patch.setattr(Environment, "_live", lambda environment: Watched(live(environment), self))


class Watched:
    """LMDB's environment, whose write transactions may fail to commit."""

    def __init__(self, environment, injector):
        self._environment = environment
        self._injector = injector

    def __getattr__(self, name):
        return getattr(self._environment, name)

    @contextmanager
    def _writing(self, options):
        with self._environment.begin(**options) as txn:
            yield txn
            if self._injector.point == "commit":
                self._injector.step()
        if self._injector.point == "committed":
            self._injector.step()

    def begin(self, **options):
        if options.get("write"):
            return self._writing(options)
        return self._environment.begin(**options)
