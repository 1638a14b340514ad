"""Key managers as the command line has them: a person may be asked, and nobody is asked twice.

A passphrase that the TOML file does not have is typed: once to open something, twice for what is to
be wrapped, since a slip of the finger there would lose the index. `Remembered` keeps the index key
that a manager has given, so that it can be written down before the manager is let go of.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cyborg_embedded.cli.terminal import ask_secret, ask_secret_twice
from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.keys import wipe
from cyborg_embedded.kms.manager import KeyManager
from cyborg_embedded.kms.passphrase import Passphrase
from cyborg_embedded.kms.registry import KeyRegistry, read_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.envelopes import Envelope
    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["Remembered", "read_managers"]


def read_managers(path: str) -> KeyRegistry:
    """The key managers in a TOML file, which ask at the terminal for passphrases that it does not
    have. Raises `InvalidInputError`.
    """
    person = Person()
    read = read_registry(path, ask=person.ask)
    managers = ((slot, read.get(slot)) for slot in read.slots)
    return KeyRegistry(
        {
            slot: Attended(each, person) if isinstance(each, Passphrase) else each
            for slot, each in managers
        }
    )


class Person:
    """Who knows the passphrases."""

    def __init__(self) -> None:
        self.wrapping = False
        """Whether what is asked for is to wrap a key, rather than to unwrap one."""
        self._typed: dict[str, str] = {}
        """What was typed to wrap, until it has been seen to unwrap."""

    def ask(self, slot: str) -> str:
        """The passphrase of a slot. Raises `KeyManagerError` (refused)."""
        try:
            if self.wrapping:
                typed = ask_secret_twice(f"Passphrase to put the key under, of {slot!r}")
                self._typed[slot] = typed
                return typed
            return self._typed.pop(slot, None) or ask_secret(f"Passphrase of {slot!r}")
        except InvalidInputError as error:
            raise KeyManagerError(str(error), refused=True) from None


class Attended(KeyManager):
    """A passphrase manager whose passphrase a person may have to type."""

    provider = Passphrase.provider

    def __init__(self, manager: Passphrase, person: Person) -> None:
        self._manager = manager
        self._person = person

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """As `KeyManager.wrap`."""
        self._person.wrapping = True
        try:
            return self._manager.wrap(index_key, context)
        finally:
            self._person.wrapping = False

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytes | bytearray:
        """As `KeyManager.unwrap`."""
        return self._manager.unwrap(envelope, context)

    def describe(self) -> str:
        """As that of the manager."""
        return self._manager.describe()


class Remembered:
    """The index key that one of some key managers gave last, and the slot of that one."""

    def __init__(self, registry: KeyRegistry) -> None:
        self.key = bytearray()
        self.slot: str | None = None
        self.settled = False
        """Whether no manager is to be asked again: the key that is known is the answer."""
        self.registry = KeyRegistry(
            {
                slot: remembering(registry.get(slot), partial(self.answer, slot))
                for slot in registry.slots
            }
        )

    def answer(self, slot: str, ask: Callable[[], bytes | bytearray]) -> bytearray:
        """A copy of the key that is known, or else what is given now."""
        if not self.settled:
            given = ask()
            self.wipe()
            self.slot, self.key = slot, bytearray(given)
            if isinstance(given, bytearray):
                wipe(given)
        return bytearray(self.key)

    def wipe(self) -> None:
        """Overwrite the key."""
        wipe(self.key)


def remembering(
    manager: KeyManager,
    answer: Callable[[Callable[[], bytes | bytearray]], bytearray],
) -> KeyManager:
    """A key manager that gives what `answer` makes of asking another one."""

    class Remembering(KeyManager):
        """Another key manager, whose answers are kept."""

        provider = manager.provider

        def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
            """As `KeyManager.wrap`."""
            return manager.wrap(index_key, context)

        def unwrap(self, envelope: Envelope, context: KeyContext) -> bytearray:
            """As `KeyManager.unwrap`."""
            return answer(lambda: manager.unwrap(envelope, context))

    return Remembering()
