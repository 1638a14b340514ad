"""A wrapping key in the keychain of the operating system, through the `keyring` library.

The key is made by the first `wrap`. Two processes that do so at once must not each go on with a key
of its own, of which the keychain keeps one: making is a matter of one process at a time, under a
lock file in the home folder, and what the keychain then gives back is what is used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
from typing import TYPE_CHECKING, Any

from cyborg_embedded.errors import InvalidInputError, KeyManagerError, LockedError
from cyborg_embedded.kms.secret import HeldSecret, parse_secret
from cyborg_embedded.locks import FileLock
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Keychain"]

LOCK_SECONDS = 60.0
"""How long somebody may take to answer a keychain that asks whether it may be unlocked."""


class Keychain(HeldSecret):
    """Wraps index keys under a secret in the keychain, by the names of a service and an account.

    Needs the extra `keychain`. Raises `InvalidInputError`.
    """

    provider = "keychain"

    def __init__(self, *, service: str = "cyborg-embedded", account: str = "wrapping-key") -> None:
        for name, value in (("service", service), ("account", account)):
            if not isinstance(value, str) or not value or not value.isprintable():
                message = f"{name} must be a text of printable characters that is not empty"
                raise InvalidInputError(message)
        self._service = service
        self._account = account

    def _fetch(self) -> bytearray:
        text = self._ask("get_password")
        if text is None:
            message = f"the keychain has no secret for {self._names}"
            raise KeyManagerError(message, refused=True)
        secret = parse_secret(text) if isinstance(text, str) else None
        if secret is None:
            message = f"what the keychain has for {self._names} is not 64 hex characters"
            raise KeyManagerError(message, refused=True)
        return secret

    def _fetch_or_make(self) -> bytearray:
        if self._ask("get_password") is None:
            with making():
                if self._ask("get_password") is None:
                    self._ask("set_password", secrets.token_hex(KEY_BYTES))
                    if self._ask("get_password") is None:
                        raise unusable("it keeps nothing")
        return self._fetch()

    def _ask(self, function: str, *arguments: str) -> Any:
        try:
            return getattr(load_keyring(), function)(self._service, self._account, *arguments)
        except KeyManagerError:
            raise
        except Exception as error:  # noqa: BLE001 - backends of all kinds, with errors of their own
            # Its text is the backend's, and who knows what it says.
            reason = type(error).__name__
        raise unusable(reason)

    @property
    def _names(self) -> str:
        return f"account {self._account!r} of service {self._service!r}"

    def describe(self) -> str:
        """What it is, with service and account."""
        return f"{self.provider} {self._service}/{self._account}"


def load_keyring() -> Any:
    """The library. Raises `KeyManagerError` if it is not installed."""
    try:
        return importlib.import_module("keyring")
    except ImportError:
        message = "the keychain needs: pip install 'cyborg-embedded[keychain]'"
        raise KeyManagerError(message) from None


def unusable(reason: str) -> KeyManagerError:
    """What there is to say where the keychain does not answer."""
    return KeyManagerError(f"there is no usable keychain, or it is locked ({reason})")


@contextlib.contextmanager
def making() -> Iterator[None]:
    """Be the only process that makes a secret. Raises `KeyManagerError`."""
    folder = os.path.join(os.path.expanduser("~"), ".cyborgdb")
    lock = FileLock(os.path.join(folder, "keychain.lock"), create=True)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        lock.acquire(exclusive=True, timeout=LOCK_SECONDS)
    except LockedError:
        message = "another process has been making the secret of the keychain for too long"
        raise KeyManagerError(message) from None
    except OSError as error:
        message = f"the keychain needs a lock file in {folder!r}: {error.strerror}"
        raise KeyManagerError(message) from None
    try:
        yield
    finally:
        lock.release()
