"""Which files this process has open: one `Environment` for each, however many handles use it.

LMDB must not open a file twice in one process, and its locks do not survive being closed once. So
handles share an environment by inode, and the last one to let go closes it. While it is open the
process holds a shared flock on the data file itself; whoever deletes or replaces the file needs it
exclusively, and so notices every other process that has the file open.

After a fork the child may not touch what it inherited: its handles refuse (`Environment` compares
process ids), its copies of lock descriptors are closed, and opening the index again makes a new
environment.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyborg_embedded.environment import Environment, translated
from cyborg_embedded.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["acquire", "exclusively", "release"]

Inode = tuple[int, int]


@dataclass(slots=True)
class Shared:
    """One open file and the number of its handles."""

    environment: Environment
    presence: FileLock
    users: int

    def close(self) -> None:
        """Close the file, then the lock that says that it is open."""
        self.environment.close()
        self.presence.release()


class Registry:
    """The open files of this process. `lock` guards `files`, and opening and closing itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: dict[Inode, Shared] = {}

    def after_fork(self) -> None:
        """In the child: nobody holds the lock, and the parent's locks are the parent's alone."""
        self.lock = threading.Lock()
        for shared in self.files.values():
            shared.presence.release()
            shared.environment.after_fork()


registry = Registry()
os.register_at_fork(after_in_child=registry.after_fork)


def inode_of(path: str) -> Inode:
    """What identifies the file at `path`. Raises `FileNotFoundError`."""
    stat = os.stat(path)
    return (stat.st_dev, stat.st_ino)


def acquire(path: str, *, timeout: float) -> Environment:
    """The environment of the file at `path`; every `acquire` wants one `release`.

    Raises `FileNotFoundError`, `FormatError` (not LMDB, or truncated), `LockedError`.
    """
    with registry.lock, translated():
        shared = registry.files.get(inode_of(path))
        if shared is not None and shared.environment.inherited:
            # Closing it here leaves the parent's alone, and must come before opening it anew:
            # it drops this process's record locks on LMDB's lock file.
            shared.close()
            shared = None
        if shared is None:
            presence = FileLock(path, create=False)
            presence.acquire(exclusive=False, timeout=timeout)
            try:
                environment = Environment(path)
            except BaseException:
                presence.release()
                raise
            shared = Shared(environment, presence, 0)
            registry.files[environment.inode] = shared
        shared.users += 1
        return shared.environment


def release(environment: Environment) -> None:
    """Give up one `acquire`; the last one closes the file."""
    with registry.lock:
        shared = registry.files.get(environment.inode)
        if shared is None or shared.environment is not environment or environment.inherited:
            return
        shared.users -= 1
        if not shared.users:
            del registry.files[environment.inode]
            shared.close()


@contextlib.contextmanager
def exclusively(path: str, *, timeout: float) -> Iterator[None]:
    """Be the only one, in any process, who has the file at `path`, to remove or replace it.

    Handles of this process are closed first: their next call is a `ClosedError`. Raises
    `FileNotFoundError`, `LockedError` if another process keeps the file open.
    """
    with registry.lock, translated():
        shared = registry.files.get(inode_of(path))
        presence = FileLock(path, create=False)
        if shared is not None:
            # First see that nobody else has it, by trading our own shared lock for the exclusive
            # one: then a refusal leaves this process's handles as they were.
            shared.presence.release()
        try:
            presence.acquire(exclusive=True, timeout=timeout)
        except BaseException:
            if shared is not None:
                shared.presence.acquire(exclusive=False, timeout=timeout)
            raise
        try:
            if shared is not None:
                del registry.files[shared.environment.inode]
                shared.environment.close()
            yield
        finally:
            presence.release()
