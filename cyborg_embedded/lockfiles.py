"""The files that lie beside the file of an index, and how all of them go."""

from __future__ import annotations

import contextlib
import os

__all__ = [
    "LOCK_SUFFIX",
    "WRITER_SUFFIX",
    "remove_files",
    "remove_lmdb_lock_file",
    "remove_lock_files",
]

LOCK_SUFFIX = "-lock"
"""LMDB's own lock file. Never opened here: closing any descriptor of it would drop LMDB's locks."""
WRITER_SUFFIX = "-writer"
"""The lock file of this library's own writer lock, with the writer's process id in it."""


def remove_files(path: str, *, pid: int | None = None) -> None:
    """Remove the file at `path` and its lock files, the data first: what a crash leaves behind
    is then no index, but lock files that the next one of that name replaces. In another process
    than `pid`, a child that drops what it has inherited, nothing happens.
    """
    if pid is not None and pid != os.getpid():
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    remove_lock_files(path)


def remove_lmdb_lock_file(path: str) -> None:
    """Remove LMDB's lock file of `path`. Nobody may have it open."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + LOCK_SUFFIX)


def remove_lock_files(path: str) -> None:
    """Remove the lock files that belong to `path`. Nobody may have it open."""
    for suffix in (LOCK_SUFFIX, WRITER_SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
