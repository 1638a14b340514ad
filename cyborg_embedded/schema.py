"""What `create_index(metadata_schema=...)` says of the fields of metadata."""

from __future__ import annotations

from typing import TypedDict

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import MAX_FIELD, MAX_HIDDEN

__all__ = ["FieldSchema", "described", "hidden_fields"]


class FieldSchema(TypedDict, total=False):
    """What a schema says of one field."""

    filterable: bool
    """Whether items can be filtered and ordered by it: True unless it says otherwise."""


def hidden_fields(schema: object) -> tuple[str, ...]:
    """The fields that are not to be filtered by, in ascending order. Raises `InvalidInputError`."""
    if schema is None:
        return ()
    if not isinstance(schema, dict):
        message = f"metadata_schema must be a dict, not {type(schema).__name__}"
        raise InvalidInputError(message)
    hidden = [field for field, given in schema.items() if not is_filterable(field, given)]
    if len(hidden) > MAX_HIDDEN:
        message = f"metadata_schema: at most {MAX_HIDDEN} fields may be not filterable"
        raise InvalidInputError(message)
    return tuple(sorted(hidden))


def is_filterable(field: object, given: object) -> bool:
    """What a schema says of a field."""
    if not isinstance(field, str) or not 0 < len(field) <= MAX_FIELD or field.startswith("$"):
        message = f"metadata_schema: names must be text of 1 to {MAX_FIELD} characters, without $"
        raise InvalidInputError(message)
    if any("\ud800" <= character <= "\udfff" for character in field):
        message = "metadata_schema: names must not contain lone surrogates"
        raise InvalidInputError(message)
    place = f"metadata_schema[{field!r}]"
    if not isinstance(given, dict) or not given.keys() <= {"filterable"}:
        message = f"{place} must be a dict with nothing but 'filterable'"
        raise InvalidInputError(message)
    filterable = given.get("filterable", True)
    if not isinstance(filterable, bool):
        message = f"{place}['filterable'] must be True or False"
        raise InvalidInputError(message)
    return filterable


def described(hidden: tuple[str, ...]) -> dict[str, FieldSchema]:
    """The schema of an index that hides these fields."""
    return {field: {"filterable": False} for field in hidden}
