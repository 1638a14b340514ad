"""The TOML file of key managers as it is written: tables, and variables of the environment.

In every text `${NAME}` becomes the value of an environment variable, `${NAME:-text}` that or the
text, and `$$` a dollar sign; an empty variable counts as none. Errors name the line or the field,
and variables: never a value, which may be a secret.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from cyborg_embedded.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_tables", "resolved"]

REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\}|(\{))")
LINE = re.compile(r"\(at line (\d+)")


def read_tables(file: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises `InvalidInputError`."""
    loads = toml_parser()
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror}"
        raise InvalidInputError(message) from None
    try:
        return loads(data.decode())
    except UnicodeDecodeError as error:
        where = f"line {data.count(10, 0, error.start) + 1}: is not UTF-8"
    except (ValueError, RecursionError) as error:
        line = LINE.search(str(error))
        where = f"line {line[1]}: is not TOML" if line else "is not TOML: something has no end"
    # Not in the except clauses: those errors have all of the file in them.
    message = f"{file}: {where}"
    raise InvalidInputError(message)


def toml_parser() -> Callable[[str], dict[str, Any]]:
    """Python's own, or that of the extra `toml`. Raises `InvalidInputError` if that is missing."""
    try:
        module = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        message = (
            "a file of key managers needs, in Python 3.10: pip install 'cyborg-embedded[toml]'"
        )
        raise InvalidInputError(message) from None
    loads: Callable[[str], dict[str, Any]] = module.loads
    return loads


def resolved(field: str, value: object) -> object:
    """A value, with its references to environment variables replaced if it is a text.

    Raises `InvalidInputError`.
    """

    def replacement(match: re.Match[str]) -> str:
        dollar, variable, default, malformed = match.groups()
        if malformed:
            message = f"field {field!r} has a '${{' that is no '${{NAME}}' or '${{NAME:-text}}'"
            raise InvalidInputError(message)
        if dollar:
            return "$"
        found = os.environ.get(variable) or default
        if found is None:
            message = f"field {field!r}: the environment variable {variable!r} is not set"
            raise InvalidInputError(message)
        return found

    return REFERENCE.sub(replacement, value) if isinstance(value, str) else value
