"""Transactions of LMDB as the rest of the library sees them: keys and values as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from cyborg_embedded.gate import Stay

    RaiseBetter = Callable[[BaseException | None], None]

__all__ = ["ReadTransaction", "WriteTransaction"]


class Txn(Protocol):
    """What is needed of a transaction of LMDB's binding."""

    def id(self) -> int: ...
    def get(self, key: bytes, /) -> memoryview | None: ...
    def put(self, key: bytes, value: Buffer, /) -> bool: ...
    def delete(self, key: bytes, /) -> bool: ...
    def cursor(self) -> Any: ...
    def abort(self) -> None: ...


class ReadTransaction:
    """A consistent view of the file. Use it only inside its `with` block, or until `end`."""

    def __init__(self, txn: Txn, stay: Stay | None, raise_better: RaiseBetter) -> None:
        self._txn = txn
        self.id: int = txn.id()
        self.get: Callable[[bytes], memoryview | None] = txn.get
        """The value under a key as a view of the map, or None."""
        # The last of them: what is dropped without having ended goes in this order.
        self._stay = stay
        self._raise_better = raise_better

    def all_keys(self) -> Iterator[bytes]:
        """All keys, ascending."""
        with self._txn.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                yield bytes(key)

    def end(self, error: BaseException | None = None) -> None:
        """End it. Raises this library's error in place of LMDB's or the system's, if it has one
        for `error`.
        """
        self._txn.abort()
        if self._stay is not None:
            self._stay.leave()
        self._raise_better(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)


class WriteTransaction(ReadTransaction):
    """A write transaction: all of it is committed, or nothing."""

    def put(self, key: bytes, value: Buffer) -> None:
        """Store `value` under `key`, replacing what was there."""
        self._txn.put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove `key`, if it is there."""
        self._txn.delete(key)
