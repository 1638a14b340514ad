"""What a key manager is: something that wraps an index key, and unwraps it again."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

if TYPE_CHECKING:
    from cyborg_embedded.envelopes import Envelope

__all__ = ["KeyContext", "KeyManager", "is_seconds"]


@dataclass(frozen=True)
class KeyContext:
    """What a wrapped key is bound to: an envelope of one index does not open for another.

    `index_id` is 16 bytes that no other index has; `text` the same as 32 hex digits.
    """

    index_id: bytes

    @property
    def text(self) -> str:
        """The index id as 32 hex digits."""
        return self.index_id.hex()


class KeyManager(abc.ABC):
    """One way to hold the keys of indexes. A subclass names its `provider`, wraps and unwraps.

    Threads share a key manager, so both methods may run at once. They raise `KeyManagerError`, with
    `refused=True` where the answer is no; whatever else they raise is taken for a manager that
    cannot be reached. The index checks whatever key comes back.
    """

    provider: ClassVar[str]
    """The name that its envelopes carry; 1 to 64 characters."""

    key_ttl: float | None = None
    """After how many seconds an open index asks again whether it may go on; None for never."""

    key_grace: float = 3600.0
    """How many seconds beyond that an index goes on while the manager cannot be reached."""

    @abc.abstractmethod
    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """Wrap an index key (32 bytes), bound to `context`. Raises `KeyManagerError`."""

    @abc.abstractmethod
    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytes | bytearray:
        """The index key in an envelope that `wrap` made for this context.

        A `bytearray` is wiped by the caller once it has been used. Raises `KeyManagerError`.
        """

    def describe(self) -> str:
        """Which one it is, for messages and lists, without a secret."""
        return self.provider

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()!r}>"

    def __reduce__(self) -> NoReturn:
        message = f"a {type(self).__name__} may hold secrets and cannot be pickled or copied"
        raise TypeError(message)


def is_seconds(value: object) -> bool:
    """Whether it is a positive, finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
