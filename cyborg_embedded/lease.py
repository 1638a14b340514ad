"""What keeps an open index in step with its key manager: whoever may no longer unwrap the key may
no longer use the index.

Under a manager with a `key_ttl`, a thread unwraps the key again before the time is over. When the
manager refuses, the session is locked: keys and plaintext are dropped, and every call says why. A
manager that cannot be reached is asked again and again, and the session is locked once the grace is
over too. A locked session is opened again as soon as the manager gives the key.

The clock counts the time that the machine sleeps, where there is such a clock: who wakes up after
the grace is over finds the index locked.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING

from cyborg_embedded.custody import unwrapped
from cyborg_embedded.errors import ClosedError, KeyManagerError, WrongKeyError
from cyborg_embedded.keys import wipe

if TYPE_CHECKING:
    from cyborg_embedded.header import Header
    from cyborg_embedded.kms.registry import KeyRegistry
    from cyborg_embedded.session import Session

__all__ = ["Lease", "lease_of"]

EARLY = 0.75
"""At which part of the time the manager is asked again."""
LONGEST_SECONDS = 86_400.0
"""How long is waited at most, whatever the time of a manager."""
SOON_SECONDS = 5.0
"""How long at most between two tries while the index is locked or the manager cannot be reached."""


def now() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def lease_of(session: Session, registry: KeyRegistry, opened_by: str | None) -> Lease | None:
    """The lease of a session that was opened through a slot; None where there is nothing to renew:
    the key was supplied, or its manager has no `key_ttl`.
    """
    if opened_by is None or registry.get(opened_by).key_ttl is None:
        return None
    lease = Lease(session, registry)
    lease.start()
    return lease


class Lease:
    """The right to use one session, renewed by a thread of its own."""

    def __init__(self, session: Session, registry: KeyRegistry) -> None:
        # A queue, since the end of a session may be told within any allocation of any thread.
        self._end = end = queue.SimpleQueue[None]()
        self._session = weakref.ref(session, lambda _: end.put(None))
        self._registry = registry
        self._granted = now()
        self._ttl, self._grace = self._terms(self._slots(session.store.header))
        session.expiry = self._expiry

    def start(self) -> None:
        """Start the thread."""
        name = "cyborg-embedded lease"
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def stop(self) -> None:
        """Renew no more. Does not wait for a manager that is being asked."""
        self._end.put(None)

    def _expiry(self) -> KeyManagerError | None:
        """Why the session is to be locked now; None while it may go on."""
        if now() <= self._granted + self._ttl + self._grace:
            return None
        return KeyManagerError("the key manager has not been reached for too long")

    def _slots(self, header: Header) -> list[str]:
        """The managers to ask: those that want to be asked again."""
        known = (slot for slot in header.envelopes if slot in self._registry)
        return [slot for slot in known if self._registry.get(slot).key_ttl is not None]

    def _terms(self, slots: list[str]) -> tuple[float, float]:
        managers = [self._registry.get(slot) for slot in slots]
        ttl = min((each.key_ttl for each in managers if each.key_ttl is not None), default=0.0)
        return ttl, min((each.key_grace for each in managers), default=0.0)

    def _loop(self) -> None:
        pause = EARLY * self._ttl
        while not self._ended_within(pause):
            session = self._session()
            if session is None or session.closed:
                return
            try:
                pause = self._renew(session)
            except ClosedError:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                # The file itself cannot be read: that is for the calls to say. Ask again.
                reason = f"the key could not be asked for ({type(error).__name__})"
                pause = self._failed(session, KeyManagerError(reason))
            del session

    def _ended_within(self, seconds: float) -> bool:
        """Wait; whether the lease ends."""
        try:
            self._end.get(timeout=min(seconds, LONGEST_SECONDS))
        except queue.Empty:
            return False
        return True

    def _renew(self, session: Session) -> float:
        """Ask once; how many seconds to wait until the next time."""
        header = session.newest_header()
        slots = self._slots(header)
        if not slots:
            if header.managed and not any(slot in self._registry for slot in header.envelopes):
                unknown = "its key managers are others by now, which the client does not have"
                return self._failed(session, KeyManagerError(unknown, refused=True))
            # The application holds the key by now, or managers that need not be asked again do. A
            # locked session has not authenticated this: it stays as it is.
            session.expiry = None
            self.stop()
            return 0.0
        asked_at = now()
        try:
            _, index_key, keys = unwrapped(self._registry, header, slots)
        except (KeyManagerError, WrongKeyError) as error:
            if not isinstance(error, KeyManagerError):
                error = KeyManagerError(str(error), refused=True)
            return self._failed(session, error)
        wipe(index_key)
        self._granted = asked_at
        self._ttl, self._grace = self._terms(slots)
        session.unlock(keys)
        return EARLY * self._ttl

    def _failed(self, session: Session, error: KeyManagerError) -> float:
        if error.refused:
            session.lock(error)
        else:
            session.check_expiry()
        return min(EARLY * self._ttl, SOON_SECONDS)
