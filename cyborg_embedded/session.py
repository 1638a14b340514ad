"""A handle's way to the file: reads that see the newest commit, writes on top of it.

A session is open, locked or closed. While it is locked, as its key manager wants it, it has neither
keys nor plaintext, and every call says why; it may be opened again. Its store may also be replaced,
by that of a file that takes the place of the one that is open.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded.caches import Caches
from cyborg_embedded.errors import ClosedError, KeyManagerError, ReadOnlyError
from cyborg_embedded.state import State, advance
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from cyborg_embedded.header import Header
    from cyborg_embedded.keys import DerivedKeys
    from cyborg_embedded.pages import ReadView, WriteView
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


class Session(Caches):
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
        super().__init__()
        self._store: PageStore | None = store
        self._locked: tuple[PageStore, KeyManagerError] | None = None
        self._replacing = threading.Lock()
        """Held while the file is replaced: readers that find theirs closed wait for this."""
        self.on_close: Callable[[], object] = lambda: None
        """What is to be done once the file has been given up."""
        self.expiry: Callable[[], KeyManagerError | None] | None = None
        """Says why the session is to be locked, once it is; None where nobody has to be asked."""
        self._lock_timeout = lock_timeout
        self._read_only = read_only
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._state: State | None = None

    @property
    def store(self) -> PageStore:
        """The sealed pages. Raises `ClosedError` once the handle is closed, `KeyManagerError` while
        it is locked.
        """
        store = self._store
        if store is None:
            raise self._refusal()
        return store

    @property
    def underlying(self) -> PageStore:
        """The store, whether or not it is locked. Raises `ClosedError`."""
        locked = self._locked
        return locked[0] if locked is not None else self.store

    def newest_header(self) -> Header:
        """The header as it is now, whether or not the session is locked. Raises `ClosedError`."""
        store = self.underlying
        try:
            return store.newest_header()
        except ClosedError:
            with self._replacing:
                newer = self.underlying
            if newer is store:
                raise
            return newer.newest_header()

    def _refusal(self) -> ClosedError | KeyManagerError:
        locked = self._locked
        if locked is None:
            message = "the index is closed"
            return ClosedError(message)
        _, reason = locked
        return KeyManagerError(f"the index is locked: {reason}", refused=reason.refused)

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
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._read_only

    @property
    def lock_timeout(self) -> float:
        """Seconds that a call waits for a lock that somebody else holds."""
        return self._lock_timeout

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store is None and self._locked is None

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

    def _instead_of(self, store: PageStore, error: ClosedError) -> PageStore:
        """The store that has taken the place of one that is closed. Raises `error` if there is
        none, `KeyManagerError`.
        """
        if store.environment.inherited:
            raise error
        with self._replacing:
            newer = self.store
        if newer is store:
            raise error
        return newer

    def _follow(self, store: PageStore, known: State | None, view: ReadView) -> State | None:
        """Step from `known` to the commit of `view`; None if another thread has stepped first, or
        the store is no longer in use.
        """
        with self._lock:
            if self._state is not known or self._store is not store:
                return None
            self._state = advance(view, known, view.page_size, self._cache_bytes)
            return self._state

    def write(self, work: Callable[[WriteView, State], T]) -> T:
        """Run `work` on top of the newest commit, and commit what it did. All or nothing.

        `work` may run more than once and must change nothing but the view. Memory follows only
        after the commit; should that fail, the next read follows. Raises `LockedError`,
        `ReadOnlyError`, `StorageFullError`, `ClosedError`.
        """
        self.check_writable()
        while True:
            with self.writing() as store:
                with self.read() as (state, _):
                    pass
                if store is not self._store:
                    continue
                result, snapshot = store.write(state.snapshot, lambda view: work(view, state))
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
        store = self.store
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(store.environment.writer(self._lock_timeout))
                except ClosedError as error:
                    store = self._instead_of(store, error)
                else:
                    break
            yield store

    def hurry(self) -> None:
        """From now on wait for no lock for long: the handle is about to be closed."""
        self._lock_timeout = min(self._lock_timeout, HURRIED_SECONDS)

    def lock(self, reason: KeyManagerError) -> None:
        """Forget keys and plaintext, and refuse every call, until `unlock`.

        Running calls end first. The file stays open. Nothing happens if the handle is closed or
        locked already.
        """
        with self._lock:
            store = self._store
            if store is None:
                return
            self._locked = (store, reason)
            self._store = self._state = None
        store.wipe()
        self.forget()

    def check_expiry(self) -> None:
        """Lock the session if its time is over."""
        reason = self.expiry and self.expiry()
        if reason is not None:
            self.lock(reason)

    def unlock(self, keys: DerivedKeys) -> None:
        """Go on with keys that were given again. They are wiped if the handle is not locked."""
        with self._lock:
            if self._locked is not None:
                parked, _ = self._locked
                self._store = PageStore(parked.environment, parked.header, keys)
                self._locked = None
                return
        keys.wipe()

    @contextlib.contextmanager
    def replacing(self) -> Iterator[Callable[[PageStore], None]]:
        """A with block in which the file is replaced; the function it gives is to be called with
        the new store. Other threads' reads wait meanwhile, and go on with that.
        """

        def replace(store: PageStore) -> None:
            with self._lock:
                old, reason = self._store, None
                if self._locked is not None:
                    old, reason = self._locked
                if old is not None:
                    self._store, self._state, self._locked = store, None, None
            (old or store).close()
            self.forget()
            if reason is not None:
                self.lock(reason)

        with self._replacing:
            yield replace

    def close(self) -> None:
        """Give up the file and forget keys and plaintext. Calling it again does nothing."""
        with self._lock:
            store, self._store, self._state = self._store, None, None
            if self._locked is not None:
                store, self._locked = self._locked[0], None
        if store is not None:
            store.close()
            self.on_close()
        self.forget()
