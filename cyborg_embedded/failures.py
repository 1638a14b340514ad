"""Errors of LMDB and of the system as those of this library."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import lmdb

from cyborg_embedded.errors import (
    CyborgError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    LockedError,
    ReadOnlyError,
    StorageFullError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["raise_better", "translated"]


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
    code = error.errno if isinstance(error, OSError) else error.code
    found = BY_TYPE.get(type(error)) or BY_CODE.get(code or 0)
    if found is None and isinstance(error, lmdb.Error):
        found = UNKNOWN
    return found and found[0](found[1])


Translation = tuple[type[CyborgError], str]
DAMAGED: Translation = (IntegrityError, "LMDB found the structure of the file damaged")
FOREIGN: Translation = (FormatError, "the file is not an index of this library")
CROWDED: Translation = (LockedError, "too many simultaneous readers of one index")
FORBIDDEN: Translation = (ReadOnlyError, "no permission to write here")
STRANGE: Translation = (FormatError, "what has the name of a file of an index is something else")
FULL: Translation = (StorageFullError, "no room to write: disk, quota or file-size limit")
ELSEWHERE: Translation = (InvalidInputError, "a path leads through a file, or is too long")
SHORT: Translation = (CyborgError, "the process has too many open files, or too little memory")
UNKNOWN: Translation = (CyborgError, "LMDB failed in a way that it should not")
# LMDB calls a write that was cut short an input/output error.
BY_TYPE: dict[type[Exception], Translation] = {
    lmdb.CorruptedError: DAMAGED,
    lmdb.PageNotFoundError: DAMAGED,
    lmdb.InvalidError: FOREIGN,
    lmdb.VersionMismatchError: FOREIGN,
    lmdb.ReadersFullError: CROWDED,
    lmdb.ReadonlyError: FORBIDDEN,
    lmdb.DiskError: FULL,
}
BY_CODE: dict[int, Translation] = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP), FORBIDDEN
)
BY_CODE |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO), FULL)
BY_CODE |= dict.fromkeys((errno.EISDIR, errno.ENXIO, errno.ESPIPE), STRANGE)
BY_CODE |= dict.fromkeys((errno.ENOTDIR, errno.ENAMETOOLONG), ELSEWHERE)
BY_CODE |= dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), SHORT)
