"""Index names and the file names that stand for them.

A name is any text in NFC, in any script, without separators or control characters. Its file name
is the name with the characters that some file system refuses written as %XX, and ".cyb" behind.
Two names that differ only by case are the same name, as they are on Windows and macOS.
"""

from __future__ import annotations

import re
import unicodedata

from cyborg_embedded.errors import InvalidInputError

__all__ = ["EXTENSION", "check_name", "file_name", "fold", "name_of_file"]

EXTENSION = ".cyb"
MAX_FILE_NAME_BYTES = 200
ESCAPED = re.compile(r'[<>:"|?*%]|^[. ]')
ESCAPE = re.compile(r"%([0-9A-F]{2})")
FORBIDDEN = frozenset("/\\")
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
)


def check_name(name: object) -> str:
    """The name in NFC. Raises `InvalidInputError`, saying what is wrong with it."""
    if not isinstance(name, str):
        message = f"an index name must be text, not {type(name).__name__}"
        raise InvalidInputError(message)
    name = unicodedata.normalize("NFC", name)
    if not name:
        message = "an index name must not be empty"
    elif any(char in FORBIDDEN or unicodedata.category(char) in ("Cc", "Cs") for char in name):
        message = "an index name must not contain separators, control characters or surrogates"
    elif name in {".", ".."} or name[-1] in ". ":
        message = "an index name must not be '.' or '..' or end in a dot or a space"
    elif fold(name).split(".")[0].rstrip(" ") in DEVICES:
        message = "an index name must not be the name of a device"
    elif len(file_name(name).encode()) - len(EXTENSION) > MAX_FILE_NAME_BYTES:
        message = f"an index name must fit into {MAX_FILE_NAME_BYTES} bytes"
    else:
        return name
    raise InvalidInputError(message)


def file_name(name: str) -> str:
    """The file name of a checked index name."""
    return ESCAPED.sub(lambda match: f"%{ord(match.group()):02X}", name) + EXTENSION


def name_of_file(file: str) -> str | None:
    """The index name that a file name stands for, or None if it stands for none."""
    if not file.endswith(EXTENSION) or file.startswith("."):
        return None
    stem = file[: -len(EXTENSION)]
    name = unicodedata.normalize("NFC", ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), stem))
    try:
        check_name(name)
    except InvalidInputError:
        return None
    return name


def fold(name: str) -> str:
    """What two names that count as the same have in common."""
    return unicodedata.normalize("NFC", name.casefold())
