"""Checks of plain arguments: each raises `InvalidInputError` and says which one is wrong."""

from __future__ import annotations

import os

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import MAX_DIMENSION

__all__ = [
    "check_dimension_wanted",
    "check_one_of",
    "check_path",
    "check_timeout",
    "check_whole",
    "unheard",
]

MAX_TIMEOUT = 1_000_000


def check_whole(value: object, name: str) -> None:
    """A whole number of at least 0, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        message = f"{name} must be a whole number of at least 0, or None"
        raise InvalidInputError(message)


def check_one_of(value: object, known: tuple[str, ...], name: str) -> None:
    """Refuse what is not one of the names that are known."""
    if value not in known:
        message = f"{name} must be one of {', '.join(known)}"
        raise InvalidInputError(message)


def check_timeout(lock_timeout: object) -> float:
    """Seconds, at least 0."""
    if (
        isinstance(lock_timeout, bool)
        or not isinstance(lock_timeout, (int, float))
        or not 0 <= lock_timeout <= MAX_TIMEOUT
    ):
        message = f"lock_timeout must be a number of seconds from 0 to {MAX_TIMEOUT}"
        raise InvalidInputError(message)
    return float(lock_timeout)


def check_dimension_wanted(dimension: object) -> None:
    """A whole number from 1 to 16,384, or None."""
    if dimension is not None and (
        isinstance(dimension, bool)
        or not isinstance(dimension, int)
        or not 0 < dimension <= MAX_DIMENSION
    ):
        message = f"dimension must be a whole number from 1 to {MAX_DIMENSION}, or None"
        raise InvalidInputError(message)


def check_path(value: str | os.PathLike[str]) -> str:
    """A path, absolute."""
    path = os.fsdecode(value)
    if "\0" in path:
        message = "a path holds no NUL character"
        raise InvalidInputError(message)
    return os.path.abspath(path)


def unheard(_done: int, _total: int) -> None:
    """The progress of who did not ask to be told of it."""
