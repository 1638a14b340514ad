"""A handle's way to the file: reads that see the newest commit, writes on top of it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.errors import ClosedError, ReadOnlyError
from cyborg_embedded.ids import IdCache
from cyborg_embedded.itemcache import ItemCache
from cyborg_embedded.state import State, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.store import PageStore

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """An open index without its public face. Threads may share it.

    Lock order: the environment's gate (inside any transaction), then `_lock`. No transaction is
    begun while holding `_lock`.
    """

    def __init__(
        self,
        store: PageStore,
        *,
        lock_timeout: float,
        read_only: bool = False,
        cache_bytes: int | None = None,
    ) -> None:
        self.items = ItemCache()
        self.ids = IdCache()
        self._store: PageStore | None = store
        self._lock_timeout = lock_timeout
        self._read_only = read_only
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._state: State | None = None

    @property
    def store(self) -> PageStore:
        """The sealed pages. Raises `ClosedError` once the handle is closed."""
        store = self._store
        if store is None:
            message = "the index is closed"
            raise ClosedError(message)
        return store

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store is None

    @contextlib.contextmanager
    def read(self) -> Iterator[tuple[State, ReadView]]:
        """The newest commit, and a view of it that lasts as long as the block. Do not nest.

        Raises `ClosedError`, `IntegrityError`, `RollbackError`.
        """
        store = self.store
        while True:
            known = self._state
            with store.read(None if known is None else known.snapshot) as view:
                if known is None or view.snapshot is not known.snapshot:
                    state = self._follow(known, view)
                    if state is None:
                        continue
                else:
                    state = known
                yield state, view
                return

    def _follow(self, known: State | None, view: ReadView) -> State | None:
        """Step from `known` to the commit of `view`; None if another thread has stepped first."""
        with self._lock:
            if self._state is not known:
                return None
            self._state = advance(view, known, view.page_size, self._cache_bytes)
            return self._state

    def write(self, work: Callable[[WriteView, State], T]) -> T:
        """Run `work` on top of the newest commit, and commit what it did. All or nothing.

        `work` may run more than once and must change nothing but the view. Memory follows only
        after the commit; should that fail, the next read follows. Raises `LockedError`,
        `ReadOnlyError`, `StorageFullError`, `ClosedError`.
        """
        store = self.store
        if self._read_only:
            message = "the index was opened with read_only=True"
            raise ReadOnlyError(message)
        with store.environment.writer(self._lock_timeout):
            with self.read() as (state, _):
                pass
            result, snapshot = store.write(state.snapshot, lambda view: work(view, state))
            if snapshot is not state.snapshot:
                with store.read(snapshot) as view:
                    self._follow(state, view)
            return result

    def close(self) -> None:
        """Give up the file and forget keys and plaintext. Calling it again does nothing."""
        with self._lock:
            store, self._store, self._state = self._store, None, None
        self.items.clear()
        if store is not None:
            store.close()
