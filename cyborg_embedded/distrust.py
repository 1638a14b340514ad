"""A file that somebody else may have written, opened without giving him a hold on the process.

LMDB trusts the structure of its file: a forged page can abort the process, or have it read outside
the map. So the file is copied first, to where nobody else writes; the structure of the copy is
walked, by a walker in pure Python, in a process of its own with limits on memory and time; and that
very copy is opened, with a lock file of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, BinaryIO

from cyborg_embedded.environment import structural_problems, translated
from cyborg_embedded.errors import FormatError, IndexNotFoundError
from cyborg_embedded.filecheck import ends_inside_a_run, is_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyborg_embedded.folder import Folder

__all__ = ["private_copy"]

SECONDS = 5.0
SECONDS_PER_BYTE = 1e-7
MEMORY_BYTES = 1 << 30
MOST_HOLES = 1 << 30
"""Bytes of a file that may be holes: they would be copied as zeros."""
MEMORY_PER_BYTE = 4
PROGRAM = """
import sys
path, memory, *places = sys.argv[1:]
sys.path[:0] = places
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
except (ImportError, ValueError, OSError):
    pass
import lmdb.verify
sys.exit(3 if lmdb.verify.verify(path, subdir=False) else 0)
"""
SOUND = 0


@contextlib.contextmanager
def private_copy(folder: Folder, path: str, timeout: float) -> Iterator[str]:
    """The path of a copy whose structure is sound, for the length of a with block.

    Raises `FormatError`, `ReadOnlyError`, `StorageFullError`, `LockedError`.
    """
    with translated(), folder.rewriting(timeout=timeout) as copy:
        with open_file(path) as source, open(copy, "r+b") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        if not is_sound(copy):
            message = "the structure of the file is damaged or forged: it is not opened"
            raise FormatError(message)
        yield copy


def open_file(path: str) -> BinaryIO:
    """A file that is one: no link, nothing that waits for a writer, nor mostly holes.

    Raises `FormatError`, `IndexNotFoundError`.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    message = "what has the name of an index is not a file"
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise FormatError(message) from None
        if error.errno == errno.ENOENT:
            message = "the index has been deleted"
            raise IndexNotFoundError(message) from None
        raise
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size - 512 * status.st_blocks <= MOST_HOLES:
        return open(fd, "rb")
    os.close(fd)
    raise FormatError(message)


def is_sound(path: str) -> bool:
    """Whether LMDB may be let loose on a file."""
    size = os.path.getsize(path)
    try:
        if is_short(path) and ends_inside_a_run(path):
            return False
    except FormatError:
        return False
    if getattr(sys, "frozen", False) or not sys.executable:
        # There is no interpreter to start: the walker cannot be harmed, only kept busy.
        return not structural_problems(path)
    memory = MEMORY_BYTES + MEMORY_PER_BYTE * size
    command = [sys.executable, "-I", "-c", PROGRAM, path, str(memory), *sys.path]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS + SECONDS_PER_BYTE * size,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == SOUND
