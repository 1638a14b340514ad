"""The life of a handle: open, locked, open again, over to another file, closed.

While it is locked, as its key manager wants it, it has neither keys nor plaintext, and every call
says why. Its store may be replaced, by that of a file that takes the place of the one that is open.
Whoever reads or writes takes part in none of this: he asks for the store, and begins again with
another one where the one that he had is closed.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from cyborg_embedded.caches import Caches
from cyborg_embedded.environment import INHERITED
from cyborg_embedded.errors import ClosedError, KeyManagerError
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.keys import DerivedKeys
    from cyborg_embedded.root import Snapshot
    from cyborg_embedded.state import State

__all__ = ["Lifecycle"]


class Lifecycle(Caches):
    """The half of a session that has the file, and gives it up."""

    def __init__(self, store: PageStore) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._store: PageStore | None = store
        self._given_up: PageStore | None = None
        """One that is being closed: who is interrupted in it closes it again."""
        self._state: State | None = None
        self._locked: tuple[PageStore, KeyManagerError] | None = None
        self._seen: Snapshot | None = None
        """The commit that was the newest when it was locked: it does not go back behind that."""
        self._replacing = threading.Lock()
        """Held while the file is replaced: readers that find theirs closed wait for this."""
        self.on_close: Callable[[], object] = lambda: None
        """What is to be done once the file has been given up."""
        self.expiry: Callable[[], KeyManagerError | None] | None = None
        """Says why the session is to be locked, once it is; None where nobody has to be asked."""

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

    def _refusal(self) -> ClosedError | KeyManagerError:
        locked = self._locked
        if locked is None:
            message = "the index is closed"
            return ClosedError(message)
        store, reason = locked
        if store.environment.inherited:
            return ClosedError(INHERITED)
        return KeyManagerError(f"the index is locked: {reason}", refused=reason.refused)

    @property
    def state(self) -> State | None:
        """The newest commit that has been read so far, without asking the file."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store is None and self._locked is None

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
            if self._state is not None:
                self._seen = self._state.snapshot
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
            if self._locked is not None and keys.verifier == self._locked[0].header.verifier:
                parked, _ = self._locked
                self._store = PageStore(parked.environment, parked.header, keys, parked.use)
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
                    self._seen = None
            (old or store).close()
            self.forget()
            if reason is not None:
                self.lock(reason)

        with self._replacing:
            yield replace

    def close(self) -> None:
        """Give up the file and forget keys and plaintext. Calling it again does nothing."""
        with self._lock:
            if self._locked is not None:
                self._given_up, self._locked = self._locked[0], None
            elif self._store is not None:
                self._given_up = self._store
            self._store = self._state = None
        store = self._given_up
        if store is not None:
            store.close()
            if not store.environment.inherited:
                self.on_close()
            self._given_up = None
        self.forget()
