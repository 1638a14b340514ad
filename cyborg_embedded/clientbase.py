"""What a client is before it opens anything: a folder, and the key managers that it may ask."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar

from cyborg_embedded.distrust import private_copy
from cyborg_embedded.errors import ClosedError, IndexNotFoundError
from cyborg_embedded.folder import Folder
from cyborg_embedded.keys import generate_index_key
from cyborg_embedded.kms.registry import KeyRegistry, read_registry
from cyborg_embedded.model import FORMAT_VERSION
from cyborg_embedded.names import check_name
from cyborg_embedded.savedkey import load_saved_key, save_key
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from cyborg_embedded.kms.manager import KeyManager

__all__ = ["ClientBase", "IndexInfo", "while_replaced"]

T = TypeVar("T")
TIMEOUT = 10.0
TRIES = 5
"""How often a file is opened that is replaced again and again before it can be read."""


class IndexInfo(TypedDict):
    """What can be told of an index without its key. All of it is only a claim then."""

    name: str
    index_id: str
    """32 hex digits that no other index has, whatever its name."""
    format_version: int
    created: dt.datetime
    file_bytes: int
    key_managers: dict[str, str]
    """Who holds the index key: the provider of each slot. Empty where the application does."""


class ClientBase:
    """A folder of encrypted indexes and a registry of key managers. See `Client`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kms: Mapping[str, KeyManager] | str | os.PathLike[str] | KeyRegistry | None = None,
    ) -> None:
        """`kms` holds the key managers by slot, or names a TOML file that does (docs/KEYS.md).

        Raises `InvalidInputError` (the path is no folder; what is wrong with `kms`),
        `ReadOnlyError`.
        """
        if isinstance(kms, (str, os.PathLike)):
            kms = read_registry(kms)
        self._kms = kms if isinstance(kms, KeyRegistry) else KeyRegistry(kms or {})
        self._folder = Folder(path)
        self._closed = False

    @staticmethod
    def generate_key(*, save: bool = False) -> bytes:
        """A new random index key, 32 bytes. Keep it safe: without it an index is lost.

        With `save`, it is also kept in `~/.cyborgdb/index_key` (mode 0600), for development only:
        a key beside the data protects nothing. A key that is kept there already is never
        overwritten: `InvalidInputError`.
        """
        key = bytes(generate_index_key())
        if save:
            save_key(key)
        return key

    @staticmethod
    def load_key() -> bytes:
        """The key that `generate_key(save=True)` kept. For development only.

        Raises `KeyRequiredError` if there is none, `InvalidInputError` if others may read it.
        """
        return load_saved_key()

    def list_indexes(self) -> list[str]:
        """The names of the indexes in the folder, sorted. Needs no key."""
        self._check_open()
        return self._folder.names()

    def describe_index(self, name: str, *, untrusted: bool = False) -> IndexInfo:
        """What can be told of an index without its key. See `IndexInfo`; `untrusted` as in
        `Client.load_index`.

        Raises `InvalidInputError`, `IndexNotFoundError`, `FormatError`.
        """
        self._check_open()
        return while_replaced(lambda: self._describe(name, untrusted=untrusted))

    def _describe(self, name: str, *, untrusted: bool) -> IndexInfo:
        path = self._folder.find(name)
        with contextlib.ExitStack() as stack:
            opened = path
            if untrusted:
                opened = stack.enter_context(private_copy(self._folder, path, TIMEOUT))
            header = PageStore.peek(opened, timeout=TIMEOUT)
            size = size_of(path)
        created = dt.datetime.fromtimestamp(header.created, dt.timezone.utc)
        return {
            "name": check_name(name),
            "index_id": header.index_id.hex(),
            "format_version": FORMAT_VERSION,
            "created": created,
            "file_bytes": size,
            "key_managers": {slot: each.provider for slot, each in header.envelopes.items()},
        }

    def close(self) -> None:
        """Close the client. Indexes that it opened stay open."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            message = "the client is closed"
            raise ClosedError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._folder.path!r}>"

    def __reduce__(self) -> NoReturn:
        message = "a Client may hold secrets and cannot be pickled or copied; make another one"
        raise TypeError(message)


def while_replaced(call: Callable[[], T]) -> T:
    """Call something; again, where the file that it has opened has been replaced meanwhile."""
    for _ in range(TRIES - 1):
        # No with block: an interrupt in the end of one would lose what has been opened.
        try:
            return call()
        except ClosedError:
            continue
    return call()


def size_of(path: str) -> int:
    """The bytes of a file. Raises `IndexNotFoundError` if it is gone."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        message = "the index has been deleted"
        raise IndexNotFoundError(message) from None
