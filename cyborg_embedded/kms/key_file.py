"""A wrapping key in a file that only this user can read."""

from __future__ import annotations

import os
import secrets

from cyborg_embedded.durable import write_new
from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms.secret import HeldSecret, parse_secret, read_secret_file
from cyborg_embedded.model import KEY_BYTES

__all__ = ["KeyFile", "absolute"]


def absolute(path: object) -> str:
    """A path as an absolute one. Raises `InvalidInputError` for what cannot be a path."""
    if isinstance(path, (str, bytes, os.PathLike)):
        text = os.fsdecode(path)
        if text and "\0" not in text:
            return os.path.abspath(text)
    message = "the path of a file must be a text or a path object, and not empty"
    raise InvalidInputError(message)


class KeyFile(HeldSecret):
    """Wraps index keys under the secret in a file: 32 bytes, or 64 hex characters.

    The file is read at each use, and has to be this user's own, with a mode like 0600. A relative
    path is one from the folder that is current now. Raises `InvalidInputError`.
    """

    provider = "key-file"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = absolute(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> KeyFile:
        """Make a file with a random secret, for its owner alone, and be sure that it is on disk.

        Raises `InvalidInputError` if there is anything at that path, which is never overwritten,
        `KeyManagerError` if the file cannot be made.
        """
        manager = cls(path)
        try:
            write_new(manager._path, secrets.token_hex(KEY_BYTES) + "\n")
        except FileExistsError:
            message = f"there is something at {manager._path!r} already; it is never overwritten"
            raise InvalidInputError(message) from None
        except OSError as error:
            message = f"the key file {manager._path!r} cannot be made: {error.strerror}"
            raise KeyManagerError(message) from None
        return manager

    def _fetch(self) -> bytearray:
        try:
            secret = parse_secret(read_secret_file(self._path))
        except ValueError as error:
            message = f"the key file {self._path!r} {error}"
            raise KeyManagerError(message, refused=True) from None
        except OSError as error:
            message = f"the key file {self._path!r} cannot be read: {error.strerror}"
            raise KeyManagerError(message) from None
        if secret is None:
            message = f"the key file {self._path!r} must hold 32 bytes, or 64 hex characters"
            raise KeyManagerError(message, refused=True)
        return secret

    def describe(self) -> str:
        """What it is, with the path."""
        return f"{self.provider} {self._path}"
