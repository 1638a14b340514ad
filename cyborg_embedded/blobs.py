"""One byte string over the pages of a kind, each full but the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.errors import IntegrityError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.model import PageKind
    from cyborg_embedded.pages import ReadView, WriteView


__all__ = ["load_blob", "save_blob"]


def save_blob(view: WriteView, kind: PageKind, data: bytes) -> None:
    """Write `data` as all pages of a kind, in place of what was there."""
    room = view.page_size - OVERHEAD
    pages = -(-len(data) // room)
    whole = memoryview(data)
    for page in range(pages):
        view.seal(kind, page, whole[page * room : (page + 1) * room])
    view.truncate(kind, pages)


def load_blob(view: ReadView, kind: PageKind, length: int) -> NDArray[np.uint8]:
    """All pages of a kind as one string of this length. Raises `IntegrityError`."""
    room = view.page_size - OVERHEAD
    pages = view.snapshot.pages(kind)
    if pages != -(-length // room):
        message = "there are more or fewer pages than there should be"
        raise IntegrityError(message, kind=kind.name, number=0)
    data = np.empty(length, np.uint8)
    whole = memoryview(data)
    places = [whole[start : start + room] for start in range(0, length, room)]
    view.open_each_into(kind, list(range(pages)), places)
    return data
