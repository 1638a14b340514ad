"""Which files this process has open: one `Environment` for each, however many handles use it.

LMDB must not open a file twice in one process, and its locks do not survive being closed once. So
handles share an environment by inode, and the last one to let go closes it. While it is open the
process holds a shared flock on the data file itself; whoever deletes or replaces the file needs it
exclusively, and so notices every other process that has the file open.

A fork waits until no transaction runs. Then the child can close its copies of environments without
touching their shared lock tables, where a running transaction would be taken for ended: its handles
refuse from then on, and opening an index again makes a new environment. In the parent nothing has
happened.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.environment import Environment, translated
from cyborg_embedded.errors import ClosedError, FormatError, LockedError, ReadOnlyError
from cyborg_embedded.locks import DESCRIPTORS, HELD, POLL_SECONDS, FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.gate import Stay

__all__ = ["Use", "acquire", "alone", "release"]

Inode = tuple[int, int]
T = TypeVar("T")
REPLACED = "the file was deleted or replaced while it was open; open the index again"


@dataclass(slots=True)
class Shared:
    """One open file and the number of its handles."""

    environment: Environment
    presence: FileLock
    users: int
    alone: bool = False
    """Whether a thread of this process rewrites it, holding `presence` exclusively."""

    def close(self) -> None:
        """Close the file, then the lock that says that it is open."""
        self.environment.close()
        self.presence.release()


class Use:
    """One use of a file: given up once, however often that is said."""

    environment: Environment | None = None
    """None where there is none yet, or no longer."""


class Registry:
    """The open files of this process. `lock` guards `files`, and opening and closing itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: dict[Inode, Shared] = {}
        self.stays: list[Stay] = []
        """In all gates, while the process forks."""

    def before_fork(self) -> None:
        """Wait until nothing is being opened, closed, read or written, and keep it so."""
        self.lock.acquire()
        DESCRIPTORS.acquire()
        gates = [shared.environment.gate for shared in self.files.values()]
        self.stays = [gate.exclusive() for gate in gates]

    def after_fork_in_parent(self) -> None:
        """Go on."""
        for stay in self.stays:
            stay.leave()
        DESCRIPTORS.release()
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Close all copies. The parent's files and locks stay as they are."""
        for stay in self.stays:
            stay.thread = 0  # its gate is not to be touched
        self.stays.clear()
        for shared in self.files.values():
            shared.environment.abandon()
        for lock in list(HELD):
            lock.abandon()
        self.files.clear()
        DESCRIPTORS.release()
        self.lock.release()


registry = Registry()
os.register_at_fork(
    before=registry.before_fork,
    after_in_parent=registry.after_fork_in_parent,
    after_in_child=registry.after_fork_in_child,
)


def inode_of(path: str) -> Inode:
    """What identifies the file at `path`. Raises `FileNotFoundError`, `FormatError`."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        message = "what has the name of an index is not a file"
        raise FormatError(message)
    return (status.st_dev, status.st_ino)


def acquire(
    path: str, *, timeout: float, read_only: bool = False, use: Use | None = None
) -> Environment:
    """The environment of the file at `path`; every `acquire` wants one `release`. `use` has it too,
    for who is interrupted before he has got it.

    It can be written to, unless the file system cannot and `read_only` allows for that. Raises
    `FileNotFoundError`, `FormatError` (not LMDB, or truncated), `LockedError`, `ReadOnlyError`.
    """

    def attempt() -> Environment:
        inode = inode_of(path)
        for known, other in list(registry.files.items()):
            if other.environment.path == path and known != inode:
                # Its file was replaced behind its back. The lock files are the same ones, and
                # closing it later would drop the locks of the new environment.
                del registry.files[known]
                other.close()
        shared = registry.files.get(inode)
        if shared is not None and not shared.users:
            # Whoever gave it up as the last one was interrupted.
            shared.close()
            del registry.files[inode]
            shared = None
        if shared is None:
            presence, environment = FileLock(path, create=False), None
            try:
                presence.acquire(exclusive=False, timeout=0)
                environment = opened(path, read_only=read_only)
                shared = Shared(environment, presence, 0)
                registry.files[environment.inode] = shared
            except BaseException:
                if environment is not None:
                    environment.close()
                presence.release()
                raise
        elif shared.environment.read_only and not read_only:
            message = "the file system is read-only"
            raise ReadOnlyError(message)
        if use is not None:
            use.environment = shared.environment
        shared.users += 1
        return shared.environment

    return patiently(attempt, timeout)


def opened(path: str, *, read_only: bool) -> Environment:
    """A new environment of the file at `path`."""
    try:
        return Environment(path)
    except ReadOnlyError:
        if not read_only:
            raise
        return Environment(path, read_only=True)


def release(environment: Environment, use: Use | None = None) -> None:
    """Give up one `acquire`; the last one closes the file. Who is interrupted in it says it again,
    with his `use`.
    """
    with registry.lock:
        shared = registry.files.get(environment.inode)
        if shared is None or shared.environment is not environment:
            return
        if use is None:
            shared.users -= 1
        elif use.environment is not None:
            use.environment = None
            shared.users -= 1
        if not shared.users:
            shared.close()
            del registry.files[environment.inode]


@contextlib.contextmanager
def alone(
    environment: Environment, *, timeout: float
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Be the only process that has the file of `environment` open; this one goes on with it.

    The function that it gives closes the file and calls a function that removes or replaces it.
    Handles of this process are closed with it. The caller is its one writer. Raises `ClosedError`,
    `LockedError`.
    """
    held: list[Shared] = []
    use = Use()

    def attempt() -> None:
        shared = registry.files.get(environment.inode)
        if shared is None or shared.environment is not environment:
            message = "the index is closed"
            raise ClosedError(message)
        make_exclusive(shared)
        held[:] = [shared]
        shared.alone = True
        use.environment = environment
        shared.users += 1  # it stays open until this is over

    def swap(replace: Callable[[], None]) -> None:
        with registry.lock, translated():
            environment.close(REPLACED)
            try:
                replace()
            except BaseException:
                if environment.is_named():
                    # Nothing has come of it, and all handles go on.
                    environment.reopen()
                else:
                    registry.files.pop(environment.inode, None)
                raise
            del registry.files[environment.inode]

    def give_up() -> None:
        for shared in held:
            with registry.lock:
                shared.alone = False
                if registry.files.get(environment.inode) is shared:
                    shared.presence.downgrade()
                else:
                    shared.presence.release()
            release(environment, use)

    try:
        patiently(attempt, timeout)
        yield swap
    finally:
        try:
            give_up()
        except BaseException:
            give_up()  # interrupted on the way
            raise


def patiently(attempt: Callable[[], T], timeout: float) -> T:
    """Try until no other process is in the way, for `timeout` seconds. Raises `LockedError`.

    Other files can be opened and closed between two tries, and the process can fork.
    """
    deadline = time.monotonic() + timeout
    pause, longest = POLL_SECONDS
    while True:
        with registry.lock, translated():
            try:
                return attempt()
            except LockedError as error:
                left = deadline - time.monotonic()
                if left <= 0 or error.pid == os.getpid():
                    raise
        time.sleep(min(pause, left))
        pause = min(2 * pause, longest)


def make_exclusive(shared: Shared) -> None:
    """Trade the shared lock on a file for the exclusive one, to see that nobody else has it.

    A refusal leaves the handles of this process as they were. Raises `LockedError`, `ClosedError`.
    """
    if shared.alone:
        message = "the index is being rewritten by another thread"
        raise LockedError(message, pid=os.getpid())
    try:
        shared.presence.upgrade(timeout=0)
    except FileNotFoundError:
        registry.files.pop(shared.environment.inode, None)
        shared.environment.close(REPLACED)
        raise ClosedError(REPLACED) from None
    except BaseException:
        shared.presence.downgrade()
        raise
