"""A handle's way to the file: reads that see the newest commit, writes on top of it."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.errors import ClosedError, KeyManagerError, ReadOnlyError
from cyborg_embedded.lifecycle import Lifecycle
from cyborg_embedded.state import State, advance
from cyborg_embedded.store import NotNewestError, check_not_older

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from cyborg_embedded.header import Header
    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.store import PageStore
    from cyborg_embedded.transactions import ReadTransaction

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


def call(work: Callable[[WriteView, State], T], state: State, view: WriteView) -> T:
    """Do some work on top of a commit."""
    return work(view, state)


class Session(Lifecycle):
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
        super().__init__(store)
        self._lock_timeout = lock_timeout
        self._read_only = read_only
        self._cache_bytes = cache_bytes

    def newest_header(self) -> Header:
        """The header as it is now: authentic, unless the session is locked. Raises `ClosedError`,
        `IntegrityError`.
        """
        if self._locked is None:
            with contextlib.suppress(KeyManagerError), self.read() as (state, _):
                return state.snapshot.header
        store = self.underlying
        try:
            return store.newest_header()
        except ClosedError:
            with self._replacing:
                newer = self.underlying
            if newer is store:
                raise
            return newer.newest_header()

    @property
    def hidden(self) -> tuple[str, ...]:
        """The fields that are not to be filtered by: the same as long as the index lives."""
        state = self._state
        if state is None:
            with self.read() as (state, _):
                pass
        return state.root.hidden

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._read_only

    @property
    def lock_timeout(self) -> float:
        """Seconds that a call waits for a lock that somebody else holds."""
        return self._lock_timeout

    def read(self) -> Reading:
        """A with block with the newest commit, and a view of it that lasts as long. Do not nest.

        Raises `ClosedError`, `IntegrityError`, `RollbackError`.
        """
        return Reading(self)

    def begin(self) -> tuple[ReadTransaction, State, ReadView]:
        """`read`, with the transaction that the caller is to end."""
        if self.expiry is not None:
            self.check_expiry()
        store = self.store
        while True:
            known = self._state
            try:
                txn, view = store.begin(None if known is None else known.snapshot)
            except ClosedError as error:
                store = self._instead_of(store, error)
                continue
            if known is not None and view.snapshot is known.snapshot:
                return txn, known, view
            try:
                state = self._follow(store, known, view)
            except BaseException as error:
                txn.end(error)
                raise
            if state is not None:
                return txn, state, view
            txn.end()
            store = self.store

    def _follow(self, store: PageStore, known: State | None, view: ReadView) -> State | None:
        """Step from `known` to the commit of `view`; None if another thread has stepped first, or
        the store is no longer in use.
        """
        with self._lock:
            if self._state is not known or self._store is not store:
                return None
            if known is None and self._seen is not None:
                check_not_older(view.snapshot.root, view.snapshot.root_tag, self._seen)
            self._state = advance(view, known, view.page_size, self._cache_bytes)
            return self._state

    def write(self, work: Callable[[WriteView, State], T]) -> T:
        """Run `work` on top of the newest commit, and commit what it did. All or nothing.

        `work` may run more than once and must change nothing but the view. Memory follows only
        after the commit; should that fail, the next read follows. Raises `LockedError`,
        `ReadOnlyError`, `StorageFullError`, `ClosedError`.
        """
        self.check_writable()
        again = False
        while True:
            with self.writing() as store:
                with self.read() as (state, _):
                    pass
                if store is not self._store:
                    continue
                try:
                    result, snapshot = store.write(state.snapshot, partial(call, work, state))
                except NotNewestError:
                    if again:
                        raise
                    again = True
                    continue
                except ClosedError:
                    if store is self._store:
                        raise
                    continue  # locked, or replaced, before anything was written
                # From here on it is written, whatever becomes of this handle.
                with contextlib.suppress(Exception):
                    if snapshot is not state.snapshot:
                        with store.read(snapshot) as view:
                            self._follow(store, state, view)
                return result

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` for a handle that only reads."""
        if self._read_only:
            message = "the index was opened with read_only=True"
            raise ReadOnlyError(message)

    @contextlib.contextmanager
    def writing(self) -> Iterator[PageStore]:
        """Be the one writer of the file, for the length of a with block; its store.

        Raises `LockedError`, `ClosedError`.
        """
        store, entered = self.store, False
        while not entered:
            try:
                with store.environment.writer(self._lock_timeout):
                    entered = True
                    yield store
            except ClosedError as error:
                if entered:
                    raise
                store = self._instead_of(store, error)

    def hurry(self) -> None:
        """From now on wait for no lock for long: the handle is about to be closed."""
        self._lock_timeout = min(self._lock_timeout, HURRIED_SECONDS)
