"""A handle's way to the file: reads that see the newest commit, writes on top of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.coarse import CoarseSlot
from cyborg_embedded.columnset import ColumnSlot
from cyborg_embedded.errors import ClosedError, ReadOnlyError
from cyborg_embedded.ids import IdCache
from cyborg_embedded.itemcache import ItemCache
from cyborg_embedded.state import State, advance

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cyborg_embedded.environment import ReadTransaction
    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.store import PageStore

__all__ = ["Session"]

T = TypeVar("T")
HURRIED_SECONDS = 0.25


class Reading:
    """See `Session.read`. A class, since every query passes here and a generator takes longer."""

    __slots__ = ("_session", "_txn")

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> tuple[State, ReadView]:
        self._txn, state, view = self._session.begin()
        return state, view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._txn.end(error)


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
        self.columns = ColumnSlot()
        self.codes = CoarseSlot()
        self.spared: dict[str, float] = {}
        """Microseconds that ways to search would have spared so far, had they been ready."""
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
    def state(self) -> State | None:
        """The newest commit that has been read so far, without asking the file."""
        return self._state

    @property
    def hidden(self) -> tuple[str, ...]:
        """The fields that are not to be filtered by: the same as long as the index lives."""
        state = self._state
        if state is None:
            with self.read() as (state, _):
                pass
        return state.root.hidden

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store is None

    def read(self) -> Reading:
        """A with block with the newest commit, and a view of it that lasts as long. Do not nest.

        Raises `ClosedError`, `IntegrityError`, `RollbackError`.
        """
        return Reading(self)

    def begin(self) -> tuple[ReadTransaction, State, ReadView]:
        """`read`, with the transaction that the caller is to end."""
        store = self.store
        while True:
            known = self._state
            txn, view = store.begin(None if known is None else known.snapshot)
            if known is not None and view.snapshot is known.snapshot:
                return txn, known, view
            try:
                state = self._follow(known, view)
            except BaseException as error:
                txn.end(error)
                raise
            if state is not None:
                return txn, state, view
            txn.end()

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

    def hurry(self) -> None:
        """From now on wait for no lock for long: the handle is about to be closed."""
        self._lock_timeout = min(self._lock_timeout, HURRIED_SECONDS)

    def close(self) -> None:
        """Give up the file and forget keys and plaintext. Calling it again does nothing."""
        with self._lock:
            store, self._store, self._state = self._store, None, None
        self.items.clear()
        self.columns.clear()
        self.codes.clear()
        if store is not None:
            store.close()
