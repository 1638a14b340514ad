"""Files and names that are to survive a power cut."""

from __future__ import annotations

import os

__all__ = ["sync", "write_new"]


def sync(path: str) -> None:
    """Have a file, or the names in a folder, on the disk. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: str, text: str) -> None:
    """Write a file for its owner alone that was not there before, through to the disk. Leaves none
    that is not whole. Raises `OSError`.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync(os.path.dirname(path))
    except BaseException:
        os.unlink(path)
        raise
