"""What errors of LMDB and of the system mean to this library."""

from __future__ import annotations

import errno

from cyborg_embedded.errors import (
    CyborgError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    LockedError,
    ReadOnlyError,
    StorageFullError,
)

__all__ = ["of_lmdb", "of_system"]

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
BY_NAME: dict[str, Translation] = {
    "CorruptedError": DAMAGED,
    "PageNotFoundError": DAMAGED,
    "InvalidError": FOREIGN,
    "VersionMismatchError": FOREIGN,
    "ReadersFullError": CROWDED,
    "ReadonlyError": FORBIDDEN,
    "DiskError": FULL,
}
BY_CODE: dict[int, Translation] = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP), FORBIDDEN
)
BY_CODE |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO), FULL)
BY_CODE |= dict.fromkeys((errno.EISDIR, errno.ENXIO, errno.ESPIPE), STRANGE)
BY_CODE |= dict.fromkeys((errno.ENOTDIR, errno.ENAMETOOLONG), ELSEWHERE)
BY_CODE |= dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), SHORT)


def of_lmdb(name: str, code: int) -> CyborgError:
    """This library's error for one of LMDB's, by the name of its class and its number."""
    kind, message = BY_NAME.get(name) or BY_CODE.get(code) or UNKNOWN
    return kind(message)


def of_system(code: int | None) -> CyborgError | None:
    """This library's error for a number of the system; None where it may pass as it is."""
    found = BY_CODE.get(code or 0)
    return found and found[0](found[1])
