"""A copy of an index while it is used, and an index from a copy.

LMDB copies one commit, in one read transaction, without free pages: ciphertext as it lies there.
The copy is whole, and on the disk, before it gets its name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING

from cyborg_embedded.checks import unheard
from cyborg_embedded.distrust import is_sound
from cyborg_embedded.durable import sync
from cyborg_embedded.environment import translated
from cyborg_embedded.errors import (
    ClosedError,
    FormatError,
    IntegrityError,
    InvalidInputError,
)
from cyborg_embedded.lockfiles import remove_files
from cyborg_embedded.session import Session
from cyborg_embedded.store import PageStore
from cyborg_embedded.verification import verify

if TYPE_CHECKING:
    from typing import BinaryIO

    from cyborg_embedded.custody import Custody
    from cyborg_embedded.folder import Folder
    from cyborg_embedded.keys import DerivedKeys

__all__ = ["backup", "restore"]


LONGEST_NAME = 200
"""Bytes of the name of a backup that its name while it is written begins with."""


def backup(session: Session, path: str, *, check: bool) -> None:
    """Copy the newest commit to a new file. See `EncryptedIndex.backup`."""
    with translated():
        refuse_to_overwrite(path)
        parent, name = os.path.split(path)
        short = os.fsdecode(os.fsencode(name)[:LONGEST_NAME])
        temporary = os.path.join(parent, f"{short}.part-{secrets.token_hex(8)}")
        try:
            keys = copy(session, temporary)
            try:
                if check:
                    check_copy(keys, temporary)
            finally:
                keys.wipe()
            sync(temporary)
            put_in_place(temporary, path)
        except FileNotFoundError:
            message = "the folder of the backup is not there"
            raise InvalidInputError(message) from None
        finally:
            remove_files(temporary)


def copy(session: Session, path: str) -> DerivedKeys:
    """Copy the newest commit; its keys."""
    while True:
        store = session.store
        try:
            with store.environment.read():
                # Keys are wiped while nobody reads.
                store.check_usable()
                keys = store.cipher.keys.copy()
            with contextlib.ExitStack() as on_failure:
                on_failure.callback(keys.wipe)
                store.environment.copy(path)
                on_failure.pop_all()
        except ClosedError:
            remove_files(path)
            # Another file may have taken its place.
            if session.store is store:
                raise
        else:
            return keys


def check_copy(keys: DerivedKeys, path: str) -> None:
    """Look at everything in a copy. Raises `IntegrityError`."""
    opened = Session(PageStore.open_with(path, lambda _: keys, timeout=0), lock_timeout=0)
    try:
        raise_problems(opened)
    finally:
        opened.close()


def raise_problems(session: Session) -> None:
    """Raises `IntegrityError` for an index of which something is lost."""
    report = verify(session, unheard)
    for problem in report.problems:
        if not problem.derived:
            message = f"the copy is damaged: {problem.message}"
            raise IntegrityError(message)


def refuse_to_overwrite(path: str) -> None:
    """Raises `InvalidInputError` where there is something at a path."""
    if os.path.lexists(path):
        message = "there is something at the path of the backup already; it is not overwritten"
        raise InvalidInputError(message)


def put_in_place(temporary: str, path: str) -> None:
    """Give a file its name, unless something has that name."""
    try:
        os.link(temporary, path)
    except OSError:
        # There is something by now, or the file system has no hard links.
        refuse_to_overwrite(path)
        os.rename(temporary, path)
    sync(os.path.dirname(path))


def open_backup(path: str) -> BinaryIO:
    """A file, open for reading; whatever else is there, a FIFO too, is refused without waiting."""
    message = "there is no file at the path of the backup"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise InvalidInputError(message) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInputError(message)
    return os.fdopen(fd, "rb")


def restore(
    folder: Folder,
    source: str,
    name: str,
    custody: Custody,
    timeout: float,
    *,
    check: bool,
) -> None:
    """Make an index from a backup. See `Client.restore_index`."""
    folder.check_free(name)
    with translated(), contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_backup(source))
        path = stack.enter_context(folder.creating(name, timeout=timeout))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as target:
            shutil.copyfileobj(opened, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        if not is_sound(path):
            message = "the structure of the backup is damaged or forged: it is not opened"
            raise FormatError(message)
        session = Session(
            PageStore.open_with(path, custody.keys, timeout=timeout), lock_timeout=timeout
        )
        try:
            with session.read():
                pass
            if check:
                raise_problems(session)
        finally:
            session.close()
