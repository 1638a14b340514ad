"""A lock between threads: many inside, or one alone.

Its stays end with their last reference: an interrupt (`KeyboardInterrupt`, or whatever a signal
handler raises) comes at any moment, also between taking a lock and noting that one has it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from cyborg_embedded.errors import LockedError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["Gate", "Stay"]

LONG_SECONDS = 1.0
"""A call inside is seldom longer."""
PACKAGE = os.path.dirname(__file__) + os.sep


def is_nested() -> bool:
    """Whether the call of this library that is under way was made from within another one."""
    frame: FrameType | None = sys._getframe()
    outside = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE):
            if outside:
                return True
        elif file != contextlib.__file__:
            outside = True
        frame = frame.f_back
    return False


class Stay:
    """One stay inside of a gate. It ends with `leave`, or with the last reference to it: whoever is
    interrupted on his way out leaves the gate all the same, as soon as his error is forgotten.
    """

    __slots__ = ("_gate", "thread")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.thread = threading.get_ident()

    def leave(self) -> None:
        """Leave; again, nothing happens."""
        if self.thread:
            self._gate.left_by(self)
            self.thread = 0

    def __del__(self) -> None:
        if not getattr(self, "thread", 0):
            return  # it has ended, or has not begun
        try:
            self.leave()
        except BaseException:
            self.leave()  # interrupted on the way
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()


class Gate:
    """Many threads inside `shared`, or one inside `exclusive`. A waiting exclusive goes first, but
    for those who have waited through the one before: neither side can shut the other out.

    Not re-entrant: a thread inside must not enter again.
    """

    def __init__(self) -> None:
        # Re-entrant, since a stay may be dropped anywhere, also in here. And it is the lock that is
        # taken by with blocks, not the condition: that one can be interrupted when it has the lock
        # and its block has not begun.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inside: dict[int, int] = {}
        """The threads inside, by the `id` of their stays: these are not kept alive by this."""
        self._exclusive: tuple[int, int] | None = None
        """The stay that is alone, and its thread."""
        self._waiting = 0
        self._steps = 0
        self._held_up = 0
        self._turns = 0

    @property
    def inside(self) -> int:
        """How many are inside."""
        return len(self._inside)

    def shared(self) -> Stay:
        """Enter together with other shared holders, for the length of a with block, or until the
        stay is over.
        """
        stay = Stay(self)
        # Every query passes here: the lock itself is quicker than the condition around it.
        with self._lock:
            if self._exclusive or self._waiting:
                self._wait_shared(stay)
            self._inside[id(stay)] = stay.thread
        return stay

    def _wait_shared(self, stay: Stay) -> None:
        if self._exclusive and self._exclusive[1] == stay.thread:
            self._forget(stay.thread)
        arrived = self._steps
        self._held_up += 1
        try:
            while self._exclusive or (self._waiting and arrived == self._steps):
                self._changed.wait()
        finally:
            self._held_up -= 1
            if arrived != self._steps and self._turns:
                # One of those whose turn it is. Who has come since waits like all others.
                self._turns -= 1
                if not self._turns:
                    self._changed.notify_all()

    def exclusive(self, timeout: float | None = None) -> Stay:
        """Enter alone, for the length of a with block, or until the stay is over.

        A thread that is inside already, although none of its calls is under way, was interrupted
        before it could leave, and has left with this. Raises `LockedError` after so many seconds,
        and at once where the thread is inside in earnest: in a callback, or a signal handler.
        """
        stay = Stay(self)
        deadline = None if timeout is None else time.monotonic() + timeout
        collected = False
        with self._lock:
            self._forget(stay.thread)
            self._waiting += 1
            try:
                while self._exclusive or self._inside or self._turns:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        message = "another thread is using the index"
                        raise LockedError(message, pid=os.getpid())
                    if collected or (left is not None and left <= LONG_SECONDS):
                        self._changed.wait(left)
                    elif not self._changed.wait(LONG_SECONDS):
                        # Perhaps a stay that was interrupted is kept by a cycle of references.
                        gc.collect()
                        collected = True
                self._exclusive = (id(stay), stay.thread)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        return stay

    def _forget(self, thread: int) -> None:
        known = [stay for stay, inside in self._inside.items() if inside == thread]
        alone = self._exclusive is not None and self._exclusive[1] == thread
        if not known and not alone:
            return
        if is_nested():
            message = "this thread is in the middle of another call on the index"
            raise LockedError(message, pid=os.getpid())
        for stay in known:
            del self._inside[stay]
        if alone:
            self._exclusive = None
        self._changed.notify_all()

    def left_by(self, stay: Stay) -> None:
        """A stay is over, if it has begun."""
        with self._lock:
            if self._inside.pop(id(stay), None) is not None:
                if not self._inside and self._waiting:
                    self._changed.notify_all()
            elif self._exclusive and self._exclusive[0] == id(stay):
                self._exclusive = None
                self._steps += 1
                self._turns = self._held_up
                self._changed.notify_all()
