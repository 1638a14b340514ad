"""Where a key goes that leaves the command: a new file for its owner alone, or standard output.

A file is made before anything else is done, so that whoever cannot write it learns so in time, and
it goes again unless the key was delivered. Delivered means: written through to the disk, the name
of the file included. Nothing is ever overwritten.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from cyborg_embedded.cli.terminal import OUTPUT, finish_output, output
from cyborg_embedded.durable import sync
from cyborg_embedded.keys import wiped

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["STANDARD_OUTPUT", "Destination"]

STANDARD_OUTPUT = "-"


class Destination:
    """A new file of mode 0600, or `-`. A context manager. Raises `OSError`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._wanted = False
        if path != STANDARD_OUTPUT:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def deliver(self, key: bytearray) -> None:
        """Write a key as a line of 64 hex digits; it is safe there when this returns.

        Raises `OSError`.
        """
        with wiped(bytearray().join([*(b"%02x" % byte for byte in key), b"\n"])) as line:
            try:
                if self._fd is None:
                    output().buffer.write(line)
                    finish_output()
                else:
                    write_through(self._fd, line, os.path.dirname(os.path.abspath(self._path)))
            except OSError as error:
                where = OUTPUT if self._fd is None else self._path
                raise OSError(error.errno, error.strerror, where) from None
        self._wanted = True

    def discard(self) -> None:
        """Remove the file after all: the key in it is of no use to anybody."""
        self._wanted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            if not self._wanted:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)


def write_through(fd: int, data: bytearray, folder: str) -> None:
    """Write all of `data` to a file, and have file and folder on the disk. Raises `OSError`."""
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(fd, view[written:])
    os.fsync(fd)
    sync(folder)
