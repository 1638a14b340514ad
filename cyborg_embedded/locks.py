"""Locks between processes.

They use flock(2), which belongs to the open file description: it goes away with the process, it
excludes other descriptors of the same process too, and closing one descriptor does not drop the
lock of another, as it would with the POSIX record locks that LMDB takes on its lock file
(which is never opened here). A forked child inherits the descriptor and has to `abandon` its copy,
or it would keep the lock of a parent that dies alive.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from cyborg_embedded.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DESCRIPTORS", "HELD", "POLL_SECONDS", "FileLock"]

DESCRIPTORS = threading.Lock()
"""Held while a descriptor is opened and noted, and by whoever forks: no child may inherit one that
it does not know of."""
HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()
"""All locks of this process that are held: a child that is forked has to abandon them."""
POLL_SECONDS = (0.001, 0.05)
"""First and longest pause between two tries at a file lock."""


class FileLock:
    """An advisory lock on one file, shared or exclusive, with a time limit.

    A lock file of its own (`create`) is made when it is missing, and an exclusive holder leaves
    its process id in it, for the message that the one who waits in vain gets. Without `create` the
    file has to exist and is only ever opened for reading. One thread at a time uses one `FileLock`.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self._path = path
        self._create = create
        self._fd: int | None = None

    def acquire(self, *, exclusive: bool, timeout: float) -> None:
        """Take the lock, trying for `timeout` seconds. Raises `LockedError`, or `OSError`
        (`FileNotFoundError`, where the file is not of this lock's making).
        """
        deadline = time.monotonic() + timeout
        pause, longest = POLL_SECONDS
        while not self._try(exclusive=exclusive):
            left = deadline - time.monotonic()
            if left <= 0:
                message = "the index is locked by another user of it"
                raise LockedError(message, pid=self._holder())
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def _try(self, *, exclusive: bool) -> bool:
        with DESCRIPTORS:
            return self._try_now(exclusive=exclusive)

    def _try_now(self, *, exclusive: bool) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW if self._create else os.O_RDONLY
        fd = os.open(self._path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            # Whoever deletes or swaps a file does it while holding its lock exclusively: a lock
            # on an inode that the path no longer names locks nothing.
            if not self._still_named(fd):
                os.close(fd)
                return False
            if exclusive and self._create:
                self._sign(fd)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        HELD.add(self)
        return True

    def upgrade(self, *, timeout: float) -> None:
        """Hold alone a lock that is held shared, trying for `timeout` seconds.

        It stays shared where that fails, and nearly all of the time until it succeeds: a refusal
        lets go of it for a moment, in which nobody else may ask for it alone (the writer's lock
        sees to that). Raises `LockedError`, `FileNotFoundError` (the file has been removed in such
        a moment; the lock is given up).
        """
        deadline = time.monotonic() + timeout
        pause, longest = POLL_SECONDS
        while not self._convert(fcntl.LOCK_EX):
            # A conversion that is refused has let go of the lock. It is taken again however long
            # that takes: without it the file could be replaced under whoever has it open.
            while not self._convert(fcntl.LOCK_SH):
                time.sleep(POLL_SECONDS[0])
            self._check_named()
            left = deadline - time.monotonic()
            if left <= 0:
                message = "the index is locked by another user of it"
                raise LockedError(message)
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)
        self._check_named()

    def _check_named(self) -> None:
        if self._fd is None or not self._still_named(self._fd):
            self.release()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def downgrade(self) -> None:
        """Share again a lock that is held alone."""
        while self._fd is not None and not self._convert(fcntl.LOCK_SH):
            time.sleep(POLL_SECONDS[0])

    def _convert(self, kind: int) -> bool:
        if self._fd is None:
            return False
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sign(self, fd: int) -> None:
        # Of one length, and only when it changes: a lock should cost no disk write.
        signature = b"%-20d\n" % os.getpid()
        if os.pread(fd, len(signature), 0) != signature:
            os.pwrite(fd, signature, 0)

    def _still_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _holder(self) -> int | None:
        if not self._create:
            return None
        try:
            with open(self._path, "rb") as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Give the lock up; nothing happens if it is not held."""
        fd = self._fd
        if fd is not None:
            try:
                # Also for a child that was forked meanwhile and has the same open file description.
                fcntl.flock(fd, fcntl.LOCK_UN)
            finally:
                self._fd = None
                os.close(fd)
                HELD.discard(self)

    def abandon(self) -> None:
        """In a forked child: drop its copy of the descriptor. The parent's lock stays."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def unlink(self) -> None:
        """Remove the lock file. The caller holds the lock exclusively."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    @contextlib.contextmanager
    def held(self, *, exclusive: bool, timeout: float) -> Iterator[None]:
        """Hold the lock for the length of a with block."""
        try:
            self.acquire(exclusive=exclusive, timeout=timeout)
            yield
        finally:
            try:
                self.release()
            except BaseException:
                self.release()  # interrupted on the way there
                raise
