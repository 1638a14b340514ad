"""How the command ends: an exit code that scripts can rely on, and one line that says why.

A line never has a traceback in it, and never a key: what looks like one, because somebody gave a
key in the place of something else, is left out.
"""

from __future__ import annotations

import errno
import os
import re

from cyborg_embedded.errors import (
    CyborgError,
    FormatError,
    IndexExistsError,
    IndexNotFoundError,
    IntegrityError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    LockedError,
    ReadOnlyError,
    RollbackError,
    StorageFullError,
    WrongKeyError,
)

__all__ = ["EXIT_CODES", "INTERRUPTED", "OTHER", "exit_code", "reason", "without_keys"]

OTHER = 1
INTERRUPTED = 130
EXIT_CODES = {
    0: "done",
    2: "wrong usage, or bad input",
    3: "no such index, or what is to be made exists already",
    4: "wrong key, no key, or a key manager refused",
    5: "a key manager cannot be reached",
    6: "damaged, rolled back, or not an index",
    7: "locked by somebody else",
    8: "no room",
    9: "not allowed here, or read only",
    OTHER: "anything else",
    INTERRUPTED: "interrupted",
}
"""What each exit code means, in the order in which `--help` lists them."""

CODES: dict[type[CyborgError], int] = {
    InvalidInputError: 2,
    IndexNotFoundError: 3,
    IndexExistsError: 3,
    KeyRequiredError: 4,
    WrongKeyError: 4,
    IntegrityError: 6,
    RollbackError: 6,
    FormatError: 6,
    LockedError: 7,
    StorageFullError: 8,
    ReadOnlyError: 9,
}
ERRNOS = {
    2: {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL},
    3: {errno.EEXIST},
    8: {errno.ENOSPC, errno.EDQUOT, errno.EFBIG},
    9: {errno.EACCES, errno.EPERM, errno.EROFS},
}
HEX_KEY = re.compile(r"[0-9A-Fa-f]{64,}")


def exit_code(error: BaseException) -> int:
    """The exit code for what ended the command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, KeyManagerError):
        return 4 if error.refused else 5
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError) and not isinstance(error, CyborgError):
        return next((code for code, numbers in ERRNOS.items() if error.errno in numbers), OTHER)
    return OTHER


def reason(error: BaseException) -> str:
    """What ended the command, in one printable line without a key."""
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    elif isinstance(error, CyborgError):
        text = str(error)
    elif isinstance(error, OSError):
        text = error.strerror or type(error).__name__
        if error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {text}"
    elif isinstance(error, MemoryError):
        text = "there is not enough memory"
    else:
        text = f"this should not happen: {type(error).__name__}{place(error)}"
    return without_keys(text)


def place(error: BaseException) -> str:
    """Where an error was raised: all that can be told of one that nobody has foreseen, since its
    message may say anything.
    """
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return ""
    return f" in {os.path.basename(at.tb_frame.f_code.co_filename)}, line {at.tb_lineno}"


def without_keys(text: str) -> str:
    """A text on one printable line, without what has the form of a key."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return HEX_KEY.sub("(not shown)", line)
