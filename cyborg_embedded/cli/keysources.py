"""Where the key of an index comes from: a file, a variable, a person, or a key manager.

Never from the command line itself, which every user of the machine can read while the command
runs. A key is held in a bytearray, and overwritten when it has been used; a text that Python or the
system made of it on the way here is out of reach.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from cyborg_embedded.cli.attending import read_managers
from cyborg_embedded.cli.terminal import ask_secret, ask_secret_twice
from cyborg_embedded.errors import InvalidInputError, KeyRequiredError
from cyborg_embedded.keys import wipe
from cyborg_embedded.kms.registry import KeyRegistry
from cyborg_embedded.kms.secret import parse_secret, read_secret_file
from cyborg_embedded.savedkey import load_saved_key

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping

__all__ = [
    "KMS_VARIABLE",
    "Opening",
    "Source",
    "check_sources",
    "new_source",
    "opening",
    "registry_of",
    "source",
]

KMS_VARIABLE = "CYBORG_EMBEDDED_KMS"
HOW = "--key-file, --key-env, --key-prompt or --saved-key"


class Opening(TypedDict):
    """What the calls of a client take to get at the key of an index."""

    index_key: bytearray | None
    kms_name: str | None
    lock_timeout: float


class Source(NamedTuple):
    """What was said on the command line about a key that the caller supplies; maybe nothing."""

    file: str | None = None
    variable: str | None = None
    prompt: bool = False
    saved: bool = False

    @property
    def given(self) -> bool:
        """Whether there is to be a key."""
        return self.file is not None or self.variable is not None or self.prompt or self.saved

    def read(self, what: str, *, twice: bool = False) -> bytearray:
        """The key; `twice` has a person type it twice, for a key that is new.

        Raises `KeyRequiredError` where there is none, `InvalidInputError` where what is there must
        not be used, or is no key.
        """
        if self.file is not None:
            return key_in_file(self.file)
        if self.variable is not None:
            return key_in_variable(self.variable)
        if self.prompt:
            prompt = f"{what}, 64 hex digits"
            return parsed(ask_secret_twice(prompt) if twice else ask_secret(prompt), "the terminal")
        return bytearray(load_saved_key())


def source(options: Namespace) -> Source:
    """Where the key of the index comes from, if the caller supplies it."""
    return Source(
        getattr(options, "key_file", None),
        getattr(options, "key_env", None),
        getattr(options, "key_prompt", False),
        getattr(options, "saved_key", False),
    )


def new_source(options: Namespace) -> Source:
    """Where the new key of a rekey comes from."""
    return Source(options.new_key_file, options.new_key_env, options.new_key_prompt)


def parsed(data: bytes | str, where: str) -> bytearray:
    """A key as it is written down. Raises `InvalidInputError`."""
    key = parse_secret(data)
    if key is None:
        message = f"what {where} has is not a key of 64 hex digits"
        raise InvalidInputError(message)
    return key


def key_in_file(path: str) -> bytearray:
    """The key in a file of this user, and nobody else's. See `Source.read`."""
    try:
        return parsed(read_secret_file(path), f"the key file {path!r}")
    except FileNotFoundError:
        message = f"there is no key file {path!r}"
        raise KeyRequiredError(message) from None
    except OSError as error:
        message = f"the key file {path!r} cannot be read: {error.strerror}"
        raise InvalidInputError(message) from None
    except InvalidInputError:
        raise
    except ValueError as error:
        message = f"the key file {path!r} {error}"
        raise InvalidInputError(message) from None


def key_in_variable(variable: str) -> bytearray:
    """The key in an environment variable. See `Source.read`."""
    text = os.environ.get(variable, "")
    if not text:
        message = f"the environment variable {variable!r} is not set"
        raise KeyRequiredError(message)
    return parsed(text, f"the environment variable {variable!r}")


def check_sources(options: Namespace, *, with_managers: bool = False) -> None:
    """Raise `InvalidInputError` for more than one source of the key.

    `with_managers`: key managers are also wanted for something else than to open the index.
    """
    supplied = source(options).given
    if supplied and options.kms_name is not None:
        message = "--kms-name does not go with a key that is supplied"
        raise InvalidInputError(message)
    if supplied and options.kms is not None and not with_managers:
        message = "give either a key or --kms, not both"
        raise InvalidInputError(message)


def registry_of(options: Namespace, *, wanted: bool = True) -> KeyRegistry:
    """The key managers of `--kms`, or of the variable for it; none where they are not `wanted`.

    Raises `InvalidInputError`.
    """
    path = options.kms or os.environ.get(KMS_VARIABLE)
    registry = read_managers(path) if path and wanted else KeyRegistry({})
    if options.kms_name is not None:
        if not path:
            message = f"--kms-name needs --kms, or the environment variable {KMS_VARIABLE}"
            raise InvalidInputError(message)
        registry.get(options.kms_name)
    return registry


@contextlib.contextmanager
def opening(
    options: Namespace, held_by: Mapping[str, str], registry: KeyRegistry
) -> Iterator[Opening]:
    """How an index is opened that is `held_by` some key managers, or by none.

    Raises `KeyRequiredError`, `InvalidInputError`.
    """
    supplied = source(options)
    check_fits(options.name, held_by, registry, supplied=supplied.given)
    if held_by and options.kms_name not in (None, *held_by):
        message = f"--kms-name: {options.name!r} has no key manager {options.kms_name!r}"
        raise InvalidInputError(message)
    key = supplied.read(f"Key of {options.name!r}") if supplied.given else None
    try:
        yield {
            "index_key": key,
            "kms_name": options.kms_name,
            "lock_timeout": options.lock_timeout,
        }
    finally:
        if key is not None:
            wipe(key)


def check_fits(
    name: str, held_by: Mapping[str, str], registry: KeyRegistry, *, supplied: bool
) -> None:
    """Raise `KeyRequiredError` or `InvalidInputError` where the index cannot be opened like that,
    before anybody is asked for anything.
    """
    slots = ", ".join(map(repr, held_by))
    if not held_by and not supplied:
        message = f"the key of {name!r} is required: give {HOW}"
        raise KeyRequiredError(message)
    if held_by and supplied:
        message = f"{name!r} is under key managers ({slots}): give --kms instead of a key"
        raise InvalidInputError(message)
    if held_by and not registry.slots:
        message = f"{name!r} is under key managers ({slots}): give --kms"
        raise KeyRequiredError(message)
    if held_by and not any(slot in registry for slot in held_by):
        message = f"{name!r} is under key managers ({slots}): the file of --kms has none of them"
        raise KeyRequiredError(message)
