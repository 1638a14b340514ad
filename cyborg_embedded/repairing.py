"""`Client.repair_index`: a new index of what can be saved of a damaged one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.custody import wrap
from cyborg_embedded.distrust import private_copy
from cyborg_embedded.environment import Environment
from cyborg_embedded.header import new_header, new_index_id
from cyborg_embedded.rewriting import check_copy, rewrite_rows
from cyborg_embedded.salvaging import RepairReport, Salvage
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.custody import Custody
    from cyborg_embedded.folder import Folder
    from cyborg_embedded.header import Header
    from cyborg_embedded.keys import DerivedKeys

__all__ = ["repair"]


def repair(
    folder: Folder,
    name: str,
    to: str,
    custody: Custody,
    timeout: float,
    report: Callable[[int, int], None],
) -> RepairReport:
    """Save what can be saved of the index `name` into a new one. See `Client.repair_index`."""
    folder.check_free(to)
    with contextlib.ExitStack() as stack:
        # What is damaged may be so in a way that LMDB does not survive.
        path = stack.enter_context(private_copy(folder, folder.find(name), timeout))
        before = PageStore.peek(path, timeout=timeout)
        index_key, keys = stack.enter_context(custody.opened(before))
        keys.wipe()
        store = PageStore.open(path, index_key, timeout=timeout)
        try:
            salvage = Salvage(store)
            lost_ids = salvage.look(report)
            # The root has opened by now: the slots are those that the index really has.
            header, fresh = successor(before, custody, index_key)
            with folder.creating(to, timeout=timeout) as made:
                write(salvage, made, header, fresh, report)
        finally:
            store.close()
    lost = tuple(np.flatnonzero(salvage.lost).tolist())
    return RepairReport(
        int(salvage.sound.sum()),
        lost,
        tuple(lost_ids),
        salvage.maybe_old,
        salvage.maybe_deleted,
    )


def successor(before: Header, custody: Custody, index_key: bytearray) -> tuple[Header, DerivedKeys]:
    """A header for a new index under the same index key, held by whoever held it; and the keys that
    belong to it.
    """
    index_id = new_index_id()
    envelopes = wrap(custody.registry, list(before.envelopes), index_key, index_id)
    return new_header(index_key, page_size=before.page_size, index_id=index_id, envelopes=envelopes)


def write(
    salvage: Salvage,
    path: str,
    header: Header,
    keys: DerivedKeys,
    report: Callable[[int, int], None],
) -> None:
    """Write the rows that are sound into a new file."""
    environment = Environment(path, create=True)
    target = PageStore(environment, header, keys)
    try:
        with salvage.read() as source:
            sequence = source.snapshot.root.sequence
        live = np.flatnonzero(salvage.sound)
        # What is derived is made anew: of a damaged file nobody knows what it was made of.
        rewrite_rows(salvage.read, live, target, report, derived=False)
        check_copy(target, len(live), sequence)
    finally:
        target.wipe()
        environment.close()
