"""Envelopes: an index key, wrapped by a key manager, as it stands in the header.

An envelope says who wrapped the key (`provider`), and holds the ciphertext and what that provider
needs to unwrap it: no secret, no address. Where to ask, and whom to trust, comes from the registry
of the application. The header keeps the envelopes as a MessagePack map from slot to envelope, in
the order in which they were added; an index has at least one, or no key manager at all.

Envelopes are read before anything can be authenticated, so every part of them is bounded here, and
they are accepted in one encoding alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cyborg_embedded.errors import FormatError, InvalidInputError

__all__ = [
    "MAX_ENVELOPES",
    "MAX_ENVELOPES_BYTES",
    "Envelope",
    "Envelopes",
    "check_slot",
    "decode_envelopes",
    "encode_envelopes",
]

MAX_ENVELOPES = 16
MAX_ENVELOPES_BYTES = 1 << 18
MAX_SLOT = 64
MAX_CIPHERTEXT = 8192

Word = Annotated[str, Meta(min_length=1, max_length=MAX_SLOT)]
MAX_NUMBER = 1 << 32
MAX_LENGTH = 256


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wrapped index key.

    `provider` is that of the key manager (1 to 64 characters); `ciphertext` what it made of the key
    (1 to 8,192 bytes); `parameters` what else it needs to unwrap it, none of it secret: up to 16
    whole numbers from 0 to 2**32, texts or byte strings of up to 256. Raises `ValueError`.
    """

    provider: Word
    ciphertext: Annotated[bytes, Meta(min_length=1, max_length=MAX_CIPHERTEXT)]
    parameters: Annotated[dict[Word, Any], Meta(max_length=16)] = {}

    def __post_init__(self) -> None:
        for value in self.parameters.values():
            if type(value) is int:
                sound = 0 <= value <= MAX_NUMBER
            else:
                sound = isinstance(value, (str, bytes)) and len(value) <= MAX_LENGTH
            if not sound:
                message = "a parameter of an envelope is of another type, or too large"
                raise ValueError(message)

    def __repr__(self) -> str:
        return f"<Envelope {self.provider!r}>"


Envelopes = dict[str, Envelope]
"""By slot, in the order in which they are tried."""

encoder = msgspec.msgpack.Encoder()
decoder = msgspec.msgpack.Decoder(
    Annotated[dict[Word, Envelope], Meta(min_length=1, max_length=MAX_ENVELOPES)]
)


def check_slot(slot: object) -> str:
    """The name of a slot: 1 to 64 printable characters. Raises `InvalidInputError`."""
    if not isinstance(slot, str) or not 0 < len(slot) <= MAX_SLOT or not slot.isprintable():
        message = f"the name of a key manager must be 1 to {MAX_SLOT} printable characters"
        raise InvalidInputError(message)
    return slot


def encode_envelopes(envelopes: Envelopes) -> bytes:
    """Their bytes in the header; none where there are none.

    Raises `InvalidInputError` where a key manager gave something that is no envelope.
    """
    if not envelopes:
        return b""
    try:
        data = encoder.encode(envelopes)
        if decode_envelopes(data) == envelopes:
            return data
    except (TypeError, ValueError, OverflowError, FormatError):
        pass
    message = "a key manager gave an envelope that is too large or malformed"
    raise InvalidInputError(message)


def decode_envelopes(data: bytes) -> Envelopes:
    """The envelopes in a header. Raises `FormatError`."""
    if not data:
        return {}
    message = "the envelopes in the header are malformed"
    if len(data) > MAX_ENVELOPES_BYTES:
        raise FormatError(message)
    try:
        envelopes: Envelopes = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise FormatError(message) from None
    if encoder.encode(envelopes) != data or not all(map(str.isprintable, envelopes)):
        raise FormatError(message)
    return envelopes
