"""When rows are brought into the graph: behind the writer's back, with each write, or on demand.

In the background, one thread for a handle waits until the writer pauses, and then has rows added on
fewer cores than there are. It is told to stop, and waited for, when the handle is closed and when
the interpreter exits; should it fail, the error is raised by the next call on the handle, and its
rows are still found by scanning. A forked child has no such thread, and no use for one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING

from cyborg_embedded.building import Job, StoppedError
from cyborg_embedded.errors import ClosedError, KeyManagerError, LockedError, StorageFullError
from cyborg_embedded.indexer import is_due, optimize
from cyborg_embedded.saving import columns_are_due, save_if_it_pays
from cyborg_embedded.search import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.model import IndexingMode
    from cyborg_embedded.session import Session

__all__ = ["Indexing"]

PAUSE_SECONDS = 0.25
"""How long nothing must have been written before the thread begins."""
PATIENCE_SECONDS = 5.0
"""How long it waits for that at most."""
POLL_SECONDS = 0.05


class Indexing:
    """What keeps the graph of one handle up with its rows. Threads may share it."""

    def __init__(self, session: Session, mode: IndexingMode) -> None:
        self.mode = mode
        self._session = session
        self._pid = os.getpid()
        self._working = threading.Lock()
        self._starting = threading.Lock()
        # No event: whoever is interrupted while he sets one may leave its lock behind.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._paused = False
        self._worker: int | None = None
        """The thread of the caller that is optimizing or rewriting, if any."""
        self._written = 0.0
        self._error: BaseException | None = None
        self._job = Job(1, self._is_stopped)
        self._progress = (0, 0)
        """Rows done and rows to do of the run that is under way, or was last."""
        LIVING.add(self)

    @property
    def busy(self) -> bool:
        """Whether rows are being brought into the graph."""
        return self._working.locked()

    def raise_failure(self) -> None:
        """Raise what the thread failed with, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def look(self) -> None:
        """See whether there is something to do, after a write or on opening."""
        if self.mode == "manual" or self._stopped:
            return
        self._written = time.monotonic()
        state = self._session.state
        if state is None:
            return
        due = is_due(state) or columns_are_due(self._session, state)
        inline = state.navigator.known is not None or state.root.graph is not None
        if self.mode == "inline":
            if due or inline:
                # Closed meanwhile, by another thread: what was written is written.
                with contextlib.suppress(StoppedError):
                    self._run(cores())
        elif due:
            self._start()
            if self._wake.empty():
                self._wake.put(None)

    def look_after_write(self) -> None:
        """`look`, when something has been written: what fails now is raised by the next call, or it
        would be taken for a failure of the write.
        """
        if self._worker == threading.get_ident():
            return  # in a callback of a run: the run looks by itself
        try:
            self.look()
        except (ClosedError, LockedError, KeyManagerError):
            pass  # another time
        except Exception as error:  # noqa: BLE001 - it is raised by the next call
            self._error = error

    def optimize(self, report: Callable[[int, int], None] | None) -> None:
        """Bring all rows into the graph and save it, in this thread.

        A run that is under way in the background is hurried and waited for.
        """
        with self._session.read():
            # A forked child is refused here: it would wait for a thread that it does not have.
            pass
        self._refuse_again()
        self._job.threads = cores()
        while not self._working.acquire(timeout=POLL_SECONDS):
            self._job.threads = cores()
            if report is not None and self._progress[1]:
                report(*self._progress)
        try:
            self._worker = threading.get_ident()
            optimize(self._session, Job(cores(), report=self._noting(report)))
        finally:
            self._worker = None
            self._working.release()

    @contextlib.contextmanager
    def paused(self, timeout: float) -> Iterator[None]:
        """A with block in which nothing is brought into the graph by anybody.

        What was under way in the background is broken off, and to be looked at again afterwards;
        what another thread is about is waited for. Raises `LockedError`.
        """
        self._refuse_again()
        try:
            self._paused = True
            working = self._working.acquire(timeout=timeout)
        finally:
            self._paused = False
        if not working:
            message = "another thread is optimizing or rewriting the index"
            raise LockedError(message, pid=os.getpid())
        try:
            self._worker = threading.get_ident()
            yield
        finally:
            self._worker = None
            self._working.release()

    def _refuse_again(self) -> None:
        """Raises `LockedError` in a thread that is at it already, further up."""
        if self._worker == threading.get_ident():
            message = "this thread is optimizing or rewriting the index already"
            raise LockedError(message, pid=os.getpid())

    def stop(self) -> None:
        """Stop the thread, and wait until it has stopped: it looks for this every few rows."""
        self.forsake()
        if self._pid != os.getpid():
            return
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def forsake(self) -> None:
        """Tell the thread to stop, without waiting: this may be called from anywhere."""
        self._stopped = True
        if self._pid == os.getpid():
            self._wake.put(None)

    def close(self) -> None:
        """Stop, and save what has not been saved, if that pays and nobody is writing."""
        self._session.hurry()
        self.stop()
        LIVING.discard(self)
        if self.mode != "manual" and self._pid == os.getpid() and not self._session.closed:
            # A graph that is not saved is made again. ClosedError: the file has gone already.
            with contextlib.suppress(LockedError, ClosedError, KeyManagerError, StorageFullError):
                save_if_it_pays(self._session)

    def _is_stopped(self) -> bool:
        return self._stopped or self._paused

    def _noting(
        self, report: Callable[[int, int], None] | None = None
    ) -> Callable[[int, int], None]:
        def note(done: int, total: int) -> None:
            self._progress = (done, total)
            if report is not None:
                report(done, total)

        return note

    def _run(self, threads: int) -> None:
        """Raises `StoppedError`, and what `optimize` raises."""
        with self._working:
            self._job = job = Job(threads, self._is_stopped, self._noting())
            job.went(0, 0)
            optimize(self._session, job, always_save=False)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stopped:
                # A daemon, or the interpreter would wait for it before it tells it to stop.
                name = "cyborg-embedded indexer"
                thread = threading.Thread(target=self._loop, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter exits, or there are too many: rows are found without it.
                    return
                self._thread = thread

    def _loop(self) -> None:
        while not self._stopped:
            self._wake.get()
            self._await_pause()
            try:
                self._run(max(1, cores() - 1))
            except ClosedError:
                return
            except (StoppedError, LockedError, KeyManagerError):
                # Somebody is writing for long, or the key is not to be had: later, then.
                continue
            except BaseException as error:  # noqa: BLE001 - it is raised by the next call
                self._error = error
        # For another thread, where one who was interrupted in starting this one has started two.
        self._wake.put(None)

    def _await_pause(self) -> None:
        begun = time.monotonic()
        while not self._stopped:
            now = time.monotonic()
            if now - self._written >= PAUSE_SECONDS or now - begun >= PATIENCE_SECONDS:
                return
            time.sleep(POLL_SECONDS)


LIVING: weakref.WeakSet[Indexing] = weakref.WeakSet()


@atexit.register
def stop_all() -> None:
    """Stop all threads while the interpreter still stands."""
    for indexing in list(LIVING):
        indexing.stop()
