"""Items by their metadata alone: counted, listed, ordered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.batch import check_count
from cyborg_embedded.filters import check_field, parse
from cyborg_embedded.ordering import by_column, by_items
from cyborg_embedded.results import ITEM_FIELDS, check_include, describe_rows
from cyborg_embedded.rows import delete
from cyborg_embedded.selection import metadata, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.predicates import Node
    from cyborg_embedded.results import Item
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

__all__ = ["count_matching", "delete_matching", "ids_matching", "items_matching"]


def count_matching(session: Session, filters: object) -> int:
    """See `EncryptedIndex.count`."""
    node = parse(filters, session.hidden)
    with session.read() as (state, view):
        return select(session, view, state, node).matching


def ids_matching(session: Session, filters: object) -> list[str]:
    """See `EncryptedIndex.list_ids`."""
    node = parse(filters, session.hidden)
    with session.read() as (state, view):
        return session.items.ids(view, matching(session, view, state, node).tolist())


def items_matching(
    session: Session,
    filters: object,
    *,
    top_k: int | None,
    offset: int,
    order_by: str | None,
    ascending: bool,
    include: object,
) -> list[Item]:
    """See `EncryptedIndex.query_metadata`."""
    wanted = check_include(include, ITEM_FIELDS)
    first = check_count(offset, "offset", least=0)
    most = None if top_k is None else check_count(top_k, "top_k")
    node = parse(filters, session.hidden)
    if order_by is not None:
        check_field(order_by, "order_by", session.hidden)
    with session.read() as (state, view):
        rows = matching(session, view, state, node)
        last = len(rows) if most is None else min(len(rows), first + most)
        if order_by is not None and first < last:
            columns = session.columns.get(view, state)
            metadata_of = partial(metadata, view, session.items)
            column = columns.by_path.get(order_by)
            if column is None and not columns.complete:
                rows = by_items(rows, order_by, metadata_of, ascending=bool(ascending), first=last)
            else:
                rows = by_column(
                    column, rows, order_by, metadata_of, ascending=bool(ascending), first=last
                )
        chosen = rows[first:last].tolist()
        return list[Any](describe_rows(view, state, session.items, chosen, wanted))


def delete_matching(session: Session, filters: object) -> int:
    """See `EncryptedIndex.delete`."""
    node = parse(filters, session.hidden)

    def work(view: WriteView, state: State) -> int:
        rows = matching(session, view, state, node).tolist()
        ids = [item_id.encode() for item_id in session.items.ids(view, rows)]
        return delete(view, state, session.ids, ids) if ids else 0

    return session.write(work)


def matching(session: Session, view: ReadView, state: State, node: Node) -> NDArray[np.int64]:
    """The rows that satisfy a filter, in ascending order."""
    return np.flatnonzero(select(session, view, state, node).mask)
