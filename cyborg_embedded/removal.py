"""An index goes for good, if the key is right."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from cyborg_embedded import registry
from cyborg_embedded.errors import ClosedError, LockedError
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from cyborg_embedded.custody import Custody
    from cyborg_embedded.folder import Folder

__all__ = ["delete"]


PATIENCE_SECONDS, PAUSE_SECONDS = 0.02, 0.05
"""How long the writer's lock is waited for with the file open, and how long it is closed then."""


def delete(folder: Folder, name: str, custody: Custody, timeout: float) -> None:
    """Delete an index. See `Client.delete_index`."""
    deadline = time.monotonic() + timeout
    while not deleted(folder, name, custody, deadline):
        pass


def deleted(folder: Folder, name: str, custody: Custody, deadline: float) -> bool:
    """Whether it has been deleted; False if another file has taken its place meanwhile, perhaps
    under another key, or somebody else is its writer and there is time left.
    """

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    path = folder.find(name)
    # Whoever is asked for the key is asked before anything is locked.
    store = PageStore.open_with(path, custody.keys, timeout=left())
    try:
        with contextlib.ExitStack() as stack:
            # Of two who want the file alone each lets go of it for a moment to ask for it, in which
            # the other could have it: whoever asks is the one writer. That one may be waiting for
            # this process to close it.
            try:
                stack.enter_context(store.environment.writer(min(PATIENCE_SECONDS, left())))
            except LockedError:
                if not left():
                    raise
            else:
                swap = stack.enter_context(registry.alone(store.environment, timeout=left()))
                stack.enter_context(folder.changing(timeout=left()))
                swap(partial(folder.remove, path))
                return True
    except ClosedError:
        return False
    finally:
        store.close()
    time.sleep(min(PAUSE_SECONDS, left()))
    return False
