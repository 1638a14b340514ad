"""The folder of a client: which index lies in which file, and how files come and go.

An index appears by a rename, once it is whole, and goes by an unlink; both while holding the
folder's lock, so that two processes cannot make two indexes of one name. What a crash leaves
behind is a file with a temporary name, which is never listed and goes with the next creation. A
file that is to take the place of an index is made under such a name too, and is locked meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from cyborg_embedded.checks import check_path
from cyborg_embedded.durable import sync
from cyborg_embedded.environment import translated
from cyborg_embedded.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    LockedError,
)
from cyborg_embedded.lockfiles import remove_files, remove_lmdb_lock_file, remove_lock_files
from cyborg_embedded.locks import FileLock
from cyborg_embedded.names import EXTENSION, check_name, file_name, fold, name_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Folder"]

LOCK_NAME = ".lock"
TEMPORARY = ".new-"
GONE = "the folder of the client is gone"


class Folder:
    """A folder of indexes. Made if it is missing, for its owner alone."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises `InvalidInputError` where the path is something else, `ReadOnlyError`."""
        self.path = check_path(path)
        with translated():
            try:
                make_folder(self.path)
            except (FileExistsError, NotADirectoryError):
                message = "the path of a client must be a folder, or not exist yet"
                raise InvalidInputError(message) from None

    def names(self) -> list[str]:
        """The names of the indexes, sorted."""
        found = map(name_of_file, self._files())
        return sorted(name for name in found if name is not None)

    def _files(self) -> list[str]:
        with translated():
            try:
                return os.listdir(self.path)
            except FileNotFoundError:
                raise IndexNotFoundError(GONE) from None

    def find(self, name: object) -> str:
        """The path of an index, by its name in any case.

        Raises `InvalidInputError` (not a name), `IndexNotFoundError`.
        """
        wanted = fold(check_name(name))
        for file in self._files():
            found = name_of_file(file)
            if found is not None and fold(found) == wanted:
                return os.path.join(self.path, file)
        message = f"there is no index named {name!r}"
        raise IndexNotFoundError(message)

    def check_free(self, name: object) -> None:
        """See that no index has this name. Raises `InvalidInputError`, `IndexExistsError`."""
        checked = check_name(name)
        if fold(checked) in map(fold, self.names()):
            message = f"there is already an index named {checked!r} (case does not matter)"
            raise IndexExistsError(message)

    @contextlib.contextmanager
    def creating(self, name: object, *, timeout: float) -> Iterator[str]:
        """A path at which to make the file of a new index; it gets its name when the block ends.

        Raises `InvalidInputError`, `IndexExistsError`, `LockedError`, `ReadOnlyError`.
        """
        checked = check_name(name)
        with self.changing(timeout=timeout):
            self._clear()
            self.check_free(checked)
            temporary = self._temporary()
            final = os.path.join(self.path, file_name(checked))
            try:
                yield temporary
                # Lock files of a deleted namesake first: LMDB would believe a stale one.
                remove_lock_files(final)
                os.rename(temporary, final)
                sync(self.path)
            finally:
                remove_files(temporary)

    @contextlib.contextmanager
    def rewriting(self, *, timeout: float) -> Iterator[str]:
        """A path at which to make a file that is to take the place of another, by `replace`.

        It goes with the block, if it is still there then. Raises `LockedError`, `ReadOnlyError`,
        `FileExistsError`.
        """
        temporary, pid = self._temporary(), os.getpid()
        presence = FileLock(temporary, create=False)
        try:
            with self.changing(timeout=timeout):
                self._clear()
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                presence.acquire(exclusive=False, timeout=timeout)
            yield temporary
        finally:
            try:
                presence.release()
            except BaseException:
                presence.release()  # interrupted on the way
                raise
            finally:
                remove_files(temporary, pid=pid)

    def replace(self, temporary: str, path: str) -> bool:
        """Let a whole file take the place of the index at `path`, which nobody has open; whether
        the disk has confirmed it. Once it is in its place, nothing is raised.

        The caller is inside `changing`.
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # LMDB would believe its old lock file, and read the older of two commits.
            remove_lmdb_lock_file(path)
            os.replace(temporary, path)
            try:
                os.fsync(fd)
            except OSError:
                return False
            return True
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def changing(self, *, timeout: float) -> Iterator[None]:
        """Hold the folder's lock. Raises `LockedError`, `ReadOnlyError`."""
        self._files()
        lock = FileLock(os.path.join(self.path, LOCK_NAME), create=True)
        with translated(), lock.held(exclusive=True, timeout=timeout):
            yield

    def remove(self, path: str) -> None:
        """Remove an index for good. The caller is inside `changing` and has the file alone."""
        with translated():
            remove_files(path)
            sync(self.path)

    def _clear(self) -> None:
        """Remove what a creation or a rewriting that was killed has left."""
        for file in os.listdir(self.path):
            path = os.path.join(self.path, file)
            if file.startswith(TEMPORARY) and file.endswith(EXTENSION) and is_file(path):
                lock = FileLock(path, create=False)
                # Whoever rewrites an index now holds a lock on its file.
                with contextlib.suppress(LockedError, FileNotFoundError):
                    lock.acquire(exclusive=True, timeout=0)
                    remove_files(path)
                lock.release()
        for file in os.listdir(self.path):
            name, extension, _ = file.partition(EXTENSION)
            path = os.path.join(self.path, file)
            left = file.startswith(TEMPORARY) and not self._exists(name + extension)
            if left and is_file(path):
                # Who has rewritten an index removes his own without the folder's lock.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _exists(self, file: str) -> bool:
        return os.path.lexists(os.path.join(self.path, file))

    def _temporary(self) -> str:
        return os.path.join(self.path, TEMPORARY + secrets.token_hex(8) + EXTENSION)


def make_folder(path: str) -> None:
    """Make a folder that is missing, and those that it lies in, through to the disk."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folder(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        sync(above)


def is_file(path: str) -> bool:
    """Whether there is a file at a path, by itself: what is anything else is not of our making."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
