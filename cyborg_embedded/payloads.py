"""Ids, metadata and contents as they are stored: encoded, and refused where they cannot be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from cyborg_embedded.errors import IntegrityError, InvalidInputError
from cyborg_embedded.items import ROWS_PER_PAGE, Payload
from cyborg_embedded.jsonvalues import deeper_than, milliseconds
from cyborg_embedded.model import (
    MAX_CONTENTS_BYTES,
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
)

__all__ = ["damaged_item", "decode_metadata", "encode_ids", "encode_payloads"]

json_encoder = msgspec.json.Encoder()
json_decoder = msgspec.json.Decoder()
metadata_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_payloads(metadata: list[Any], contents: list[Any]) -> list[Payload]:
    """Metadata and contents of items, encoded."""
    encoded_metadata = encode_metadata(metadata)
    try:
        # As in `encode_ids`.
        texts = [str.encode(given) for given in contents]
    except (TypeError, UnicodeEncodeError):
        texts = []
    if texts and max(map(len, texts)) <= MAX_CONTENTS_BYTES:
        pairs = zip(encoded_metadata, texts, strict=True)
        return [Payload(metadata, text, is_text=True) for metadata, text in pairs]
    payloads = []
    for position, given in enumerate(contents):
        is_text = isinstance(given, str)
        encoded = given if given is None else encode_contents(given, position)
        payloads.append(Payload(encoded_metadata[position], encoded, is_text))
    return payloads


def encode_contents(contents: object, position: int) -> bytes:
    """Text or bytes of at most 64 MiB."""
    if isinstance(contents, str):
        encoded = encode_text(contents, "contents", position)
    elif isinstance(contents, (bytes, bytearray, memoryview)):
        encoded = bytes(contents)
    else:
        message = f"contents must be text or bytes, not {type(contents).__name__}"
        raise InvalidInputError(message, item=position)
    if len(encoded) > MAX_CONTENTS_BYTES:
        message = f"contents are longer than {MAX_CONTENTS_BYTES} bytes"
        raise InvalidInputError(message, item=position)
    return encoded


def encode_text(text: str, name: str, position: int) -> bytes:
    """Text as UTF-8, which lone surrogates have none of."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = f"{name} must not contain lone surrogates"
        raise InvalidInputError(message, item=position) from None


def encode_ids(ids: list[Any]) -> list[bytes]:
    """Ids of 1 to 1,024 UTF-8 bytes."""
    try:
        # All at once, since they are nearly always right; one by one to say which is not.
        encoded = [str.encode(item_id) for item_id in ids]
    except (TypeError, UnicodeEncodeError):
        return [encode_id(item_id, position) for position, item_id in enumerate(ids)]
    lengths = [len(data) for data in encoded]
    if ids and not (min(lengths) > 0 and max(lengths) <= MAX_ID_BYTES):
        return [encode_id(item_id, position) for position, item_id in enumerate(ids)]
    return encoded


def encode_id(item_id: object, position: int) -> bytes:
    """One id."""
    if not isinstance(item_id, str):
        message = f"id must be text, not {type(item_id).__name__}"
        raise InvalidInputError(message, item=position)
    encoded = encode_text(item_id, "id", position)
    if not 0 < len(encoded) <= MAX_ID_BYTES:
        message = f"id must have 1 to {MAX_ID_BYTES} bytes in UTF-8, not {len(encoded)}"
        raise InvalidInputError(message, item=position)
    return encoded


def encode_metadata(metadata: list[Any]) -> list[bytes]:
    """JSON objects, compact; None becomes empty.

    Only what reads back equal is taken: no NaN, no tuples, no dates, no keys but text. A datetime
    with a time zone becomes a number (docs/FILTERS.md).
    """
    encoded = [b"" if item is None else encode_object(item, at) for at, item in enumerate(metadata)]
    whole = b"[" + b",".join(filter(None, encoded)) + b"]"
    given = [item for item in metadata if item is not None]
    # All at once, since it is nearly always right; one by one to say which is not.
    if json_decoder.decode(whole) != given:
        for position, item in enumerate(metadata):
            if item is not None and json_decoder.decode(encoded[position]) != item:
                encoded[position] = encode_moments(item, position)
    return encoded


def encode_moments(metadata: dict[str, Any], position: int) -> bytes:
    """A JSON object in which there are datetimes, which become milliseconds."""
    replaced = with_numbers(metadata, position)
    encoded = encode_object(replaced, position)
    if json_decoder.decode(encoded) != replaced:
        raise not_json(position)
    return encoded


def with_numbers(value: Any, position: int) -> Any:
    """A value in which milliseconds since 1970 stand for datetimes."""
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            message = "metadata holds a datetime without a time zone"
            raise InvalidInputError(message, item=position)
        return milliseconds(value)
    if isinstance(value, list):
        return [with_numbers(each, position) for each in value]
    if isinstance(value, dict):
        return {key: with_numbers(each, position) for key, each in value.items()}
    return value


def encode_object(metadata: object, position: int) -> bytes:
    """One JSON object."""
    if not isinstance(metadata, dict):
        message = f"metadata must be a JSON object (a dict), not {type(metadata).__name__}"
        raise InvalidInputError(message, item=position)
    try:
        encoded = json_encoder.encode(metadata)
    except (TypeError, ValueError, RecursionError, OverflowError):
        raise not_json(position) from None
    if len(encoded) > MAX_METADATA_BYTES:
        message = f"metadata is longer than {MAX_METADATA_BYTES} bytes as JSON"
        raise InvalidInputError(message, item=position)
    many = encoded.count(b"{") + encoded.count(b"[") > MAX_METADATA_DEPTH
    if many and deeper_than(MAX_METADATA_DEPTH, metadata):
        message = f"metadata is nested deeper than {MAX_METADATA_DEPTH} levels"
        raise InvalidInputError(message, item=position)
    return encoded


def decode_metadata(encoded: bytes, row: int) -> dict[str, Any] | None:
    """The metadata of a row, None where it has none. Raises `IntegrityError`."""
    try:
        return metadata_decoder.decode(encoded) if encoded else None
    except (ValueError, RecursionError):
        raise damaged_item(row) from None


def damaged_item(row: int) -> IntegrityError:
    """The error for an item that is authentic and yet none."""
    message = "the item of a row is not what it should be"
    return IntegrityError(message, kind="ITEMS", number=row // ROWS_PER_PAGE)


def not_json(position: int) -> InvalidInputError:
    """The error for metadata that JSON would change."""
    message = "metadata holds something that JSON cannot hold exactly"
    return InvalidInputError(message, item=position)
