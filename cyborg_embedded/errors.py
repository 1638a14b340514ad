"""Every error this library raises on purpose.

    CyborgError
    ├── InvalidInputError          (ValueError)       an argument or item is not acceptable
    ├── IndexNotFoundError         (LookupError)      no index of that name in the folder
    ├── IndexExistsError           (FileExistsError)  the name is taken (case does not matter)
    ├── KeyRequiredError           (ValueError)       the operation needs the index key
    ├── WrongKeyError              (PermissionError)  the key is not the key of this index
    ├── KeyManagerError            (RuntimeError)     a key manager refused or cannot be reached
    ├── IntegrityError             (OSError)          a sealed page is not what was written
    ├── RollbackError              (OSError)          the index is older than it was known to be
    ├── FormatError                (OSError)          the file is not an index, or is truncated
    │   └── UnsupportedVersionError                   the file is of a newer format
    ├── ClosedError                (ValueError)       the handle was closed, or came through a fork
    ├── ReadOnlyError              (PermissionError)  a write through a handle or folder that cannot
    ├── LockedError                (TimeoutError)     somebody else holds the lock
    └── StorageFullError           (OSError)          no room: disk, quota or file-size limit

No message, field or repr ever holds a key, a vector, an item id, metadata or contents. Messages
name things by position ("item 17") and by the names that the application chose for indexes.
"""

from __future__ import annotations

__all__ = [
    "ClosedError",
    "CyborgError",
    "FormatError",
    "IndexExistsError",
    "IndexNotFoundError",
    "IntegrityError",
    "InvalidInputError",
    "KeyManagerError",
    "KeyRequiredError",
    "LockedError",
    "ReadOnlyError",
    "RollbackError",
    "StorageFullError",
    "UnsupportedVersionError",
    "WrongKeyError",
]


class CyborgError(Exception):
    """The base of every error below."""


class InvalidInputError(CyborgError, ValueError):
    """An argument, or one item of a batch, is not acceptable. Nothing was written.

    `item` is the position of the offending item in its batch, where there is one.
    """

    def __init__(self, message: str, *, item: int | None = None) -> None:
        super().__init__(message if item is None else f"item {item}: {message}")
        self.item = item


class IndexNotFoundError(CyborgError, LookupError):
    """The folder holds no index of that name."""


class IndexExistsError(CyborgError, FileExistsError):
    """The folder already holds an index of that name, regardless of case."""


class KeyRequiredError(CyborgError, ValueError):
    """The operation needs the index key and none was given."""


class WrongKeyError(CyborgError, PermissionError):
    """The key given is not the key of this index. No ciphertext was touched."""


class KeyManagerError(CyborgError, RuntimeError):
    """A key manager refused, failed, or could not be reached.

    `refused` is True where it was reached and said no, and trying again is of no use until somebody
    grants access or gives another secret; False where it could not be reached, or failed. `slot` is
    its name in the registry of the client, where that is known.
    """

    def __init__(self, message: str, *, refused: bool = False, slot: str | None = None) -> None:
        super().__init__(message if slot is None else f"key manager {slot!r}: {message}")
        self.refused = refused
        self.slot = slot


class IntegrityError(CyborgError, OSError):
    """A page is missing, moved, replaced, truncated, altered or malformed.

    `kind` and `number` name the page as docs/FORMAT.md does; both are None where the damage is
    not in one page.
    """

    def __init__(self, message: str, *, kind: str | None = None, number: int | None = None) -> None:
        super().__init__(message if kind is None else f"{kind} page {number}: {message}")
        self.kind = kind
        self.number = number


class RollbackError(CyborgError, OSError):
    """The index is at an earlier commit than the caller, or this handle, has already seen."""

    def __init__(self, message: str, *, sequence: int, expected: int) -> None:
        super().__init__(message)
        self.sequence = sequence
        self.expected = expected


class FormatError(CyborgError, OSError):
    """The file is not an index of this library, or not all of it is there."""


class UnsupportedVersionError(FormatError):
    """The file is of a format version that this release does not know."""


class ClosedError(CyborgError, ValueError):
    """The handle is closed, or belongs to another process (after a fork)."""


class ReadOnlyError(CyborgError, PermissionError):
    """A write was asked of something that can only be read."""


class LockedError(CyborgError, TimeoutError):
    """Another holder kept a lock for longer than the time allowed.

    `pid` is the holder's process id where it is known.
    """

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message if pid is None else f"{message} (held by process {pid})")
        self.pid = pid


class StorageFullError(CyborgError, OSError):
    """The disk, the quota or the file-size limit leaves no room. The call changed nothing."""
