"""Secrets of 32 bytes: how they are written, how a file of them is read, and how they wrap keys.

A secret is written as 32 raw bytes or as 64 hex characters. A file that holds one is believed only
where nobody else can have read or made it. `HeldSecret` is the part that is the same for all key
managers that keep such a secret and use it as the wrapping key; where they keep it is up to them.
"""

from __future__ import annotations

import abc
import os
import stat
from typing import TYPE_CHECKING

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import KeyManagerError
from cyborg_embedded.keys import HEX_DIGITS, wiped
from cyborg_embedded.kms.manager import KeyManager
from cyborg_embedded.kms.wrapping import open_key, seal_key
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["HeldSecret", "check_provider", "parse_secret", "read_secret_file"]

WHITESPACE = " \t\r\n"
MAX_FILE_BYTES = 256


def parse_secret(data: bytes | bytearray | str) -> bytearray | None:
    """The secret in 32 raw bytes, or in 64 hex characters of either case with whitespace around
    them; None where it is neither. A `str` is always hex.
    """
    if isinstance(data, str):
        text = data
    elif len(data) == KEY_BYTES:
        return bytearray(data)
    else:
        text = data.decode("latin-1")
    text = text.strip(WHITESPACE)
    if len(text) != 2 * KEY_BYTES or not HEX_DIGITS.issuperset(text):
        return None
    return bytearray.fromhex(text)


def read_secret_file(path: str) -> bytes:
    """The contents of a small file that this user owns and nobody else can read.

    A symbolic link is followed, and what it leads to is checked. Raises `OSError` if the file
    cannot be opened or read, `ValueError` if it must not be used; the message says what to do.
    """
    # A pipe with nobody at its other end must not hold anything up.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags)
    try:
        check_private(os.fstat(fd))
        data = os.read(fd, MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        message = f"is larger than {MAX_FILE_BYTES} bytes"
        raise ValueError(message)
    return data


def check_private(status: os.stat_result) -> None:
    """Raise `ValueError` unless an open file is a regular one, this user's and nobody else's."""
    if not stat.S_ISREG(status.st_mode):
        message = "is not a regular file"
    elif status.st_uid != os.geteuid():
        message = "belongs to another user; it has to be this user's own"
    elif status.st_mode & 0o077:
        message = "is open to other users; set its mode to 0600"
    else:
        return
    raise ValueError(message)


def check_provider(envelope: Envelope, provider: str) -> None:
    """Raise `KeyManagerError` (refused) unless an envelope is that provider's."""
    if envelope.provider != provider:
        message = f"the envelope is not one of {provider!r}"
        raise KeyManagerError(message, refused=True)


class HeldSecret(KeyManager):
    """A key manager that keeps a wrapping key of 32 bytes somewhere. A subclass says where.

    The wrapping key is fetched for each use and wiped after it.
    """

    @abc.abstractmethod
    def _fetch(self) -> bytearray:
        """A fresh copy of the wrapping key. Raises `KeyManagerError`."""

    def _fetch_or_make(self) -> bytearray:
        """As `_fetch`, for `wrap`, which may make a wrapping key where there is none yet."""
        return self._fetch()

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """As `KeyManager.wrap`."""
        with wiped(self._fetch_or_make()) as wrapping_key:
            sealed = seal_key(wrapping_key, index_key, self.provider, context)
        return Envelope(self.provider, sealed)

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytearray:
        """As `KeyManager.unwrap`."""
        check_provider(envelope, self.provider)
        if envelope.parameters:
            message = f"an envelope of {self.provider!r} has no parameters, and this one has"
            raise KeyManagerError(message, refused=True)
        with wiped(self._fetch()) as wrapping_key:
            return open_key(wrapping_key, envelope.ciphertext, self.provider, context)
