"""An index goes for good, if the key is right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cyborg_embedded import registry
from cyborg_embedded.errors import ClosedError
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from cyborg_embedded.custody import Custody
    from cyborg_embedded.folder import Folder

__all__ = ["delete"]


def delete(folder: Folder, name: str, custody: Custody, timeout: float) -> bool:
    """Delete an index; False if another file has taken its place meanwhile. See
    `Client.delete_index`.
    """
    path = folder.find(name)
    # Whoever is asked for the key is asked before anything is locked.
    store = PageStore.open_with(path, custody.keys, timeout=timeout)
    try:
        with (
            # Of two who want the file alone each lets go of it for a moment to ask for it, in which
            # the other could have it: whoever asks is the one writer.
            store.environment.writer(timeout),
            registry.alone(store.environment, timeout=timeout) as swap,
            folder.changing(timeout=timeout),
        ):
            swap(partial(folder.remove, path))
    except ClosedError:
        return False
    finally:
        store.close()
    return True
