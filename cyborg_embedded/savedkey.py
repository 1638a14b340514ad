"""A key kept in the home folder, for development only."""

from __future__ import annotations

import os

from cyborg_embedded.durable import write_new
from cyborg_embedded.errors import InvalidInputError, KeyRequiredError
from cyborg_embedded.keys import parse_index_key

__all__ = ["load_saved_key", "save_key"]


def saved_key_path() -> str:
    """Where the key is kept: `~/.cyborgdb/index_key`."""
    return os.path.join(os.path.expanduser("~"), ".cyborgdb", "index_key")


def save_key(index_key: bytes) -> None:
    """Keep a key, readable by its owner alone. Raises `InvalidInputError` if one is kept."""
    path = saved_key_path()
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        message = "the folder for a saved key is something else"
        raise InvalidInputError(message) from None
    try:
        write_new(path, index_key.hex() + "\n")
    except FileExistsError:
        message = "a key has been saved before, and saving never overwrites it; load that one"
        raise InvalidInputError(message) from None


def load_saved_key() -> bytes:
    """The key that was kept. Raises `KeyRequiredError` if there is none, `InvalidInputError` if
    others may read the file or it holds no key.
    """
    path = saved_key_path()
    try:
        if not os.path.isfile(path) and os.path.lexists(path):
            message = "what has the name of the saved key is not a file"
            raise InvalidInputError(message)
        with open(path, encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                message = "the saved key can be read by other users; set its mode to 0600"
                raise InvalidInputError(message)
            return bytes(parse_index_key(file.read(200).strip()))
    except (FileNotFoundError, NotADirectoryError):
        message = "no key has been saved; generate_key(save=True) saves one"
        raise KeyRequiredError(message) from None
    except PermissionError:
        message = "the saved key cannot be read by this user"
        raise InvalidInputError(message) from None
