"""A passphrase that a person knows, made into a wrapping key by Argon2id (RFC 9106).

    wrapping key = Argon2id(passphrase in NFC and UTF-8, salt (16 random bytes), 32 bytes;
                            memory, passes, lanes)

The defaults are RFC 9106's second recommended option: 64 MiB, 3 passes, 4 lanes. Salt and costs
stand in the envelope, which is read before anything can be authenticated: they are held to the same
bounds as those of the constructor before Argon2id runs. Somebody who edits them gets a wrapping key
that does not open the envelope, and nothing else.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.keys import wiped
from cyborg_embedded.kms.manager import KeyManager
from cyborg_embedded.kms.secret import check_provider
from cyborg_embedded.kms.wrapping import open_key, seal_key
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["Passphrase"]

SALT_BYTES = 16
MIN_KIB_PER_LANE = 8


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an envelope needs besides the passphrase: all of it, and nothing else."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    memory_kib: Annotated[int, Meta(ge=MIN_KIB_PER_LANE, le=1 << 20)]
    passes: Annotated[int, Meta(ge=1, le=16)]
    lanes: Annotated[int, Meta(ge=1, le=16)]


def check_parameters(parameters: Mapping[str, object]) -> Parameters | None:
    """The parameters, if they are whole and in bounds."""
    try:
        checked = msgspec.convert(parameters, Parameters, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return None
    return checked if checked.memory_kib >= MIN_KIB_PER_LANE * checked.lanes else None


def normalised(passphrase: object) -> bytes | None:
    """A passphrase as Argon2id gets it; None for what is no text, or none in UTF-8, or empty."""
    if not isinstance(passphrase, str) or not passphrase:
        return None
    try:
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:  # lone surrogates
        return None


def derive(passphrase: bytes, parameters: Parameters) -> bytearray:
    """The wrapping key. Raises `KeyManagerError` where there is not enough memory."""
    wrapping_key = bytearray(KEY_BYTES)
    argon2 = Argon2id(
        salt=parameters.salt,
        length=KEY_BYTES,
        iterations=parameters.passes,
        lanes=parameters.lanes,
        memory_cost=parameters.memory_kib,
    )
    try:
        argon2.derive_into(passphrase, wrapping_key)
    except MemoryError:
        message = f"Argon2id found no {parameters.memory_kib} KiB of memory for the passphrase"
        raise KeyManagerError(message) from None
    return wrapping_key


class Passphrase(KeyManager):
    """Wraps index keys under a passphrase: a text, or what `passphrase()` returns at each use.

    Composed and decomposed forms of a character are the same passphrase (NFC); nothing else about
    it is changed. `memory_kib` (up to 1 GiB), `passes` and `lanes` (up to 16) are what one guess
    costs; they apply to what is wrapped from now on. Raises `InvalidInputError`.
    """

    provider = "passphrase"

    def __init__(
        self,
        passphrase: str | Callable[[], str],
        *,
        memory_kib: int = 65536,
        passes: int = 3,
        lanes: int = 4,
    ) -> None:
        self._costs = {"memory_kib": memory_kib, "passes": passes, "lanes": lanes}
        if check_parameters({"salt": bytes(SALT_BYTES), **self._costs}) is None:
            message = (
                f"memory_kib must be from {MIN_KIB_PER_LANE} for each lane to {1 << 20}, passes and"
                " lanes from 1 to 16"
            )
            raise InvalidInputError(message)
        if not callable(passphrase) and normalised(passphrase) is None:
            message = "a passphrase must be a text that is not empty, or a function that returns it"
            raise InvalidInputError(message)
        self._passphrase = passphrase

    def _ask(self) -> bytes:
        asked = self._passphrase() if callable(self._passphrase) else self._passphrase
        passphrase = normalised(asked)
        if passphrase is None:
            message = "the passphrase that was given is empty, or not a text"
            raise KeyManagerError(message, refused=True)
        return passphrase

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """As `KeyManager.wrap`."""
        parameters = Parameters(salt=os.urandom(SALT_BYTES), **self._costs)
        with wiped(derive(self._ask(), parameters)) as wrapping_key:
            sealed = seal_key(wrapping_key, index_key, self.provider, context)
        return Envelope(self.provider, sealed, msgspec.structs.asdict(parameters))

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytearray:
        """As `KeyManager.unwrap`."""
        check_provider(envelope, self.provider)
        parameters = check_parameters(envelope.parameters)
        if parameters is None:
            message = "the salt or the costs of Argon2id in the envelope are malformed"
            raise KeyManagerError(message, refused=True)
        with wiped(derive(self._ask(), parameters)) as wrapping_key:
            return open_key(wrapping_key, envelope.ciphertext, self.provider, context)

    def describe(self) -> str:
        """What it is, with what a guess costs."""
        costs = ", ".join(f"{name} {value}" for name, value in self._costs.items())
        return f"{self.provider} (Argon2id, {costs})"
