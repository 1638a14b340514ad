"""One LMDB environment in one file: the only module that imports lmdb.

It knows keys and values as bytes, transactions, the size of the map and the life of the file; it
knows nothing of encryption. Every view of the map (`memoryview`) is valid only inside the `read`
or `write` that gave it: those hold the gate that growing the map takes exclusively, because a
view of a remapped file is a bus error and decryption runs without the GIL.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, TypeVar

import lmdb
import lmdb.verify

from cyborg_embedded.errors import ClosedError, CyborgError, FormatError, StorageFullError
from cyborg_embedded.failures import of_lmdb, of_system
from cyborg_embedded.filecheck import ends_inside_a_run, is_short
from cyborg_embedded.gate import Gate
from cyborg_embedded.lockfiles import LOCK_SUFFIX, WRITER_SUFFIX
from cyborg_embedded.locks import FileLock
from cyborg_embedded.transactions import ReadTransaction, WriteTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["INHERITED", "Environment", "structural_problems", "translated"]

T = TypeVar("T")

INITIAL_MAP_BYTES = (64 << 30) if sys.maxsize > 1 << 32 and sys.platform != "win32" else (64 << 20)
SMALLEST_MAP_BYTES = 1 << 20
MAX_READERS = 510
INHERITED = "this handle was opened before fork(); open the index again in this process"
GONE = "the file was replaced or deleted while it was open; open the index again"
WRITES_BETWEEN = 32
"""Writes after which readers that have died are looked for."""
LOCK_FILE_BYTES = 64 * (MAX_READERS + 8)


class Environment:
    """One open file. Within a process only one of these may exist for a file (registry.py)."""

    def __init__(
        self, path: str, *, create: bool = False, empty: bool = False, read_only: bool = False
    ) -> None:
        """Open the file at `path`, or make a new one, or begin one that is there and `empty`.

        `read_only` is for where nothing can be written. Raises `FileNotFoundError`, `FormatError`
        (not LMDB, or truncated).
        """
        self.path = path
        self.read_only = read_only
        self._pid = os.getpid()
        self.gate = Gate()
        self._writers = Gate()
        self._writer_file = FileLock(path + WRITER_SUFFIX, create=True)
        self._lmdb: lmdb.Environment | None = None
        self._closed_because = ""
        self._writes = 0
        with translated():
            if create:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            elif not empty:
                check_length(path)
            if not read_only:
                reserve(path + LOCK_SUFFIX)
            self._lmdb = self._open_lmdb()
            self.inode = self._identity()

    @property
    def inherited(self) -> bool:
        """Whether it was opened by another process, of which this one is a fork."""
        return self._pid != os.getpid()

    def close(self, reason: str = "the index is closed") -> None:
        """Close the file once all transactions have ended. Calls from then on: `ClosedError`."""
        with self.gate.exclusive():
            self._closed_because = reason
            self._close()

    def abandon(self) -> None:
        """In a forked child: close its copy. No transaction was running when it was forked."""
        self._writer_file.abandon()
        self._close()

    def _close(self) -> None:
        environment, self._lmdb = self._lmdb, None
        if environment is not None:
            environment.close()

    def _open_lmdb(self) -> lmdb.Environment:
        size = INITIAL_MAP_BYTES
        while True:
            try:
                environment = lmdb.Environment(
                    self.path,
                    map_size=size,
                    subdir=False,
                    mode=0o600,
                    create=False,
                    # On a file system that is read-only there is no lock file, and no writer.
                    readonly=self.read_only,
                    max_readers=MAX_READERS,
                    max_spare_txns=0,  # one kept for later would be ended by a forked child
                    lib_version=0,
                )
            except lmdb.MemoryError:
                # Little address space (a resource limit): a smaller map can grow later.
                size //= 4
                if size < SMALLEST_MAP_BYTES:
                    raise
            else:
                if not self.read_only:
                    environment.reader_check()
                return environment

    def _identity(self) -> tuple[int, int]:
        stat = os.stat(self.path)
        return (stat.st_dev, stat.st_ino)

    def _live(self) -> lmdb.Environment:
        if self.inherited:
            raise ClosedError(INHERITED)
        if self._lmdb is None:
            raise ClosedError(self._closed_because)
        return self._lmdb

    def read(self) -> ReadTransaction:
        """A read transaction, begun, inside the gate; the caller ends it. It never waits for a
        writer. Do not nest.
        """
        reopened = False
        while True:
            self._live()
            stay = self.gate.shared()
            try:
                return ReadTransaction(self._live().begin(buffers=True), stay, raise_better)
            except lmdb.MapResizedError:
                stay.leave()
                self._resize(0)
            except lmdb.PanicError:
                stay.leave()
                if reopened:
                    raise
                self.reopen()
                reopened = True
            except BaseException as error:
                stay.leave()
                raise_better(error)
                raise

    @contextlib.contextmanager
    def writer(self, timeout: float) -> Iterator[None]:
        """Be the one writer among all threads and processes. Raises `LockedError`."""
        self._live()
        lock = self._writer_file
        with self._writers.exclusive(timeout):
            try:
                self._live()  # a lock file of one that was deleted meanwhile is not made again
                with translated():
                    try:
                        lock.acquire(exclusive=True, timeout=timeout)
                    except FileNotFoundError:
                        raise ClosedError(GONE) from None
                yield
            finally:
                try:
                    lock.release()
                except BaseException:
                    lock.release()  # interrupted on the way
                    raise

    def write(self, work: Callable[[WriteTransaction], T]) -> T:
        """Run `work` in a write transaction and commit it. The caller is inside `writer`.

        When the map is full, the transaction is aborted, the map grows and `work` runs again from
        the start: it must change nothing but the transaction. Raises `StorageFullError`,
        `ClosedError` (the file at the path is no longer the one that is open).
        """
        with translated():
            self._forget_dead_readers()
            while True:
                try:
                    with self.gate.shared(), self._live().begin(write=True, buffers=True) as txn:
                        self._check_still_named()
                        return work(WriteTransaction(txn, None, raise_better))
                except lmdb.MapFullError:
                    self._resize(2 * self._live().info()["map_size"])
                except lmdb.MapResizedError:
                    self._resize(0)
                except lmdb.PanicError:
                    self.reopen()
                    raise

    def _forget_dead_readers(self) -> None:
        """Now and then: a reader that was killed in a transaction keeps pages from being used."""
        self._writes += 1
        if self._writes % WRITES_BETWEEN == 0:
            with self.gate.shared():
                self._live().reader_check()

    def copy(self, path: str) -> None:
        """Write one commit to a new file, without free pages."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with self.read():
            pass  # what another process has made of the map is adopted
        with translated(), open(path, "r+b") as file:
            while True:
                try:
                    with self.gate.shared():
                        self._live().copyfd(file.fileno(), compact=True)
                except lmdb.MapResizedError:
                    self._resize(0)
                else:
                    return

    def is_named(self) -> bool:
        """Whether the path still names this file."""
        try:
            return self._identity() == self.inode
        except FileNotFoundError:
            return False

    def _check_still_named(self) -> None:
        if not self.is_named():
            raise ClosedError(GONE)

    def _resize(self, size: int) -> None:
        with self.gate.exclusive():
            try:
                self._live().set_mapsize(size)
            except lmdb.MemoryError:
                # The old map is gone by then. A new one is as large as there is room for.
                self._close()
                self._lmdb = self._open_lmdb()
                message = "there is no address space for a larger map of the file"
                raise StorageFullError(message) from None

    def reopen(self) -> None:
        """Open the file again, whether it is open or not."""
        with self.gate.exclusive():
            self._close()
            self._lmdb = self._open_lmdb()


def check_length(path: str) -> None:
    """Refuse to map a file of which a part is missing. Raises `FormatError`."""
    # LMDB may leave free pages at the end unwritten, so a short file is not always a damaged one;
    # only then is its whole structure walked.
    if is_short(path) and (ends_inside_a_run(path) or structural_problems(path)):
        message = "the file is truncated: part of the index is missing"
        raise FormatError(message)


def reserve(path: str) -> None:
    """See that there is room for LMDB's lock file, which it maps: touching a hole that the disk has
    no room for is a SIGBUS. Nobody in this process has it open. Raises `OSError`.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(fd, 0, LOCK_FILE_BYTES)
    finally:
        os.close(fd)


def structural_problems(path: str) -> list[str]:
    """What is wrong with LMDB's structure of a file that nobody writes to meanwhile: its whole tree
    is walked, without LMDB's own code, so that nothing in it can do harm.
    """
    try:
        problems: list[str] = lmdb.verify.verify(path)  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError:
        problems = ["the file cannot be read"]
    return problems


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """LMDB's and the system's errors as this library's. `FileNotFoundError` passes."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError):
        raise
    except (lmdb.Error, OSError) as error:
        raise_better(error)
        raise


def raise_better(error: BaseException | None) -> None:
    """Raise this library's error in place of one of LMDB's or the system's, if it has one."""
    better = translation(error) if isinstance(error, (lmdb.Error, OSError)) else None
    if better is not None:
        raise better from error


def translation(error: lmdb.Error | OSError) -> Exception | None:
    """This library's error for one of LMDB's or the system's; None where it may pass as it is."""
    if isinstance(error, (CyborgError, FileNotFoundError)):
        return None
    if isinstance(error, OSError):
        return of_system(error.errno)
    return of_lmdb(type(error).__name__, error.code or 0)
