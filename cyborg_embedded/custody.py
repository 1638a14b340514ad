"""Who holds the key of an index: the application that supplies it, or the key managers whose
envelopes stand in the header.

Whatever a manager gives is checked against the verifier. A manager that is the application's own
may raise anything: what is not a `KeyManagerError` counts as a manager that cannot be reached.
"""

from __future__ import annotations

import contextlib
import hmac
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.envelopes import Envelope, Envelopes, encode_envelopes
from cyborg_embedded.errors import (
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    WrongKeyError,
)
from cyborg_embedded.keys import DerivedKeys, parse_index_key, unlock, wipe, wiped
from cyborg_embedded.kms.manager import KeyContext, KeyManager
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from cyborg_embedded.header import Header
    from cyborg_embedded.kms.registry import KeyRegistry

__all__ = ["Custody", "unwrapped", "wrap"]

T = TypeVar("T")


class Custody:
    """How a caller gets at the key of an index: the key itself, or the registry of its client.

    A context manager, which overwrites its copy of the key in the end.
    """

    def __init__(
        self,
        registry: KeyRegistry,
        index_key: object = None,
        kms_name: str | None = None,
    ) -> None:
        """`kms_name` names the one key manager that is to be asked. Raises `InvalidInputError`."""
        if index_key is not None and kms_name is not None:
            message = "give index_key or kms_name, not both"
            raise InvalidInputError(message)
        if kms_name is not None:
            registry.get(kms_name)
        self.registry = registry
        self._supplied = parse_index_key(index_key) if index_key is not None else None
        self._slot = kms_name
        self.opened_by: str | None = None
        """The slot whose manager gave the key last; None where it was supplied."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Overwrite the key that was supplied."""
        if self._supplied is not None:
            wipe(self._supplied)

    def keys(self, header: Header) -> DerivedKeys:
        """The working keys of an index. Raises as `opened` does."""
        with self.opened(header) as (_, keys):
            return keys

    @contextlib.contextmanager
    def opened(self, header: Header) -> Iterator[tuple[bytearray, DerivedKeys]]:
        """The index key and the working keys of an index; the index key is wiped in the end.

        Raises `KeyRequiredError`, `InvalidInputError` (the wrong mode, or no such manager),
        `WrongKeyError`, `KeyManagerError`.
        """
        if self._supplied is not None:
            if header.managed:
                message = f"the index is under {named(header.envelopes)}: load it without index_key"
                raise InvalidInputError(message)
            keys = unlock(self._supplied, header.salt, header.verifier)
            with wiped(bytearray(self._supplied)) as index_key:
                yield index_key, keys
            return
        if not header.managed:
            if self._slot is not None:
                message = "no key manager holds the key of the index: give its index_key"
                raise InvalidInputError(message)
            message = "no key manager holds the key of the index: its index_key is required"
            raise KeyRequiredError(message)
        slots = self._slots(header.envelopes)
        self.opened_by, index_key, keys = unwrapped(self.registry, header, slots)
        with wiped(index_key):
            yield index_key, keys

    def _slots(self, envelopes: Envelopes) -> list[str]:
        slots = [slot for slot in envelopes if slot in self.registry]
        if self._slot is not None:
            slots = [slot for slot in slots if slot == self._slot]
        if not slots:
            asked = "the client has none of them" if self._slot is None else "not that one"
            message = f"the index is under {named(envelopes)}: {asked}"
            raise KeyManagerError(message)
        return slots


def named(envelopes: Collection[str]) -> str:
    """Key managers by their slots."""
    slots = ", ".join(map(repr, envelopes))
    return f"the key manager{'s' * (len(envelopes) > 1)} {slots}"


def unwrapped(
    registry: KeyRegistry, header: Header, slots: Collection[str]
) -> tuple[str, bytearray, DerivedKeys]:
    """The first of some slots whose manager gives the key of the index, that key, and its keys.

    Raises `KeyManagerError`, refused where all of them refused; `WrongKeyError` where one gave
    another key and no other the right one.
    """
    failures: list[KeyManagerError | WrongKeyError] = []
    for slot in slots:
        try:
            index_key = unwrap(registry.get(slot), slot, header)
            try:
                return slot, index_key, unlock(index_key, header.salt, header.verifier)
            except BaseException:
                wipe(index_key)
                raise
        except (KeyManagerError, WrongKeyError) as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    for failure in failures:
        if isinstance(failure, WrongKeyError):
            raise failure
    refused = all(isinstance(each, KeyManagerError) and each.refused for each in failures)
    raise KeyManagerError("; ".join(map(str, failures)), refused=refused)


def unwrap(manager: KeyManager, slot: str, header: Header) -> bytearray:
    """The index key that a manager gives for its envelope. Raises `KeyManagerError`."""
    envelope = header.envelopes[slot]
    if envelope.provider != manager.provider:
        message = f"it is {manager.provider!r}, and the envelope is of {envelope.provider!r}"
        raise KeyManagerError(message, slot=slot, refused=True)
    context = KeyContext(header.index_id)
    return key_given(asked(slot, lambda: manager.unwrap(envelope, context)), slot)


def wrap(
    registry: KeyRegistry, slots: Collection[str], index_key: bytearray, index_id: bytes
) -> Envelopes:
    """The index key, wrapped by each of some managers. Raises `KeyManagerError`,
    `InvalidInputError` (no such manager, or it gave something that is no envelope).
    """
    context = KeyContext(index_id)
    envelopes: Envelopes = {}
    for slot in slots:
        manager = registry.get(slot)
        envelope = asked(slot, lambda manager=manager: manager.wrap(index_key, context))  # type: ignore[misc]
        if not isinstance(envelope, Envelope) or envelope.provider != manager.provider:
            message = "what it gave is no envelope of its own"
            raise KeyManagerError(message, slot=slot)
        encode_envelopes({slot: envelope})
        check_opens(manager, slot, envelope, context, index_key)
        envelopes[slot] = envelope
    encode_envelopes(envelopes)
    return envelopes


def check_opens(
    manager: KeyManager, slot: str, envelope: Envelope, context: KeyContext, index_key: bytearray
) -> None:
    """See that an envelope gives the key again, before anything depends on it: a passphrase may
    have been mistyped, a role be allowed to wrap alone. Raises `KeyManagerError`.
    """
    with wiped(key_given(asked(slot, lambda: manager.unwrap(envelope, context)), slot)) as key:
        if not hmac.compare_digest(key, index_key):
            message = "it does not give the key again that it has wrapped"
            raise KeyManagerError(message, slot=slot)


def key_given(given: object, slot: str) -> bytearray:
    """The index key that a manager has given; its own is wiped where that can be. Raises
    `KeyManagerError`.
    """
    if not isinstance(given, (bytes, bytearray)) or len(given) != KEY_BYTES:
        message = "what it gave is no index key"
        raise KeyManagerError(message, slot=slot)
    index_key = bytearray(given)
    if isinstance(given, bytearray):
        wipe(given)
    return index_key


def asked(slot: str, ask: Callable[[], T]) -> T:
    """What a manager answers. Raises `KeyManagerError` whatever it raises."""
    try:
        return ask()
    except KeyManagerError as error:
        failure = error if error.slot is not None else in_slot(error, slot)
    except Exception as error:  # noqa: BLE001 - a manager may be the application's own
        failure = KeyManagerError(f"it failed with {type(error).__name__}", slot=slot)
    # Out here, where what it raised is not even the context: who knows what that says.
    raise failure


def in_slot(error: KeyManagerError, slot: str) -> KeyManagerError:
    """The same error, with the slot that it came from."""
    return KeyManagerError(str(error), refused=error.refused, slot=slot)
