"""The folder of indexes that a command is about."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from cyborg_embedded.client import Client
from cyborg_embedded.errors import IndexNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyborg_embedded.kms.registry import KeyRegistry

__all__ = ["client_of"]


@contextlib.contextmanager
def client_of(
    folder: str, registry: KeyRegistry | None = None, *, make: bool = False
) -> Iterator[Client]:
    """A client of a folder, which is made only where that is asked for.

    Raises `IndexNotFoundError` where there is none, and what `Client` raises.
    """
    if not make and not os.path.lexists(folder):
        message = f"there is no folder {folder!r}"
        raise IndexNotFoundError(message)
    with Client(folder, kms=registry) as client:
        yield client
