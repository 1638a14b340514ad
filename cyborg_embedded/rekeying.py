"""A new file in place of the one that is open: under a new index key, or for its free space.

Whoever does it is the only writer, in the only process that has the file open. The threads of its
handle go on reading the old file until the new one is in its place; other handles of the process
are closed then. The new file is whole, verified and on the disk before it gets its name: who is
killed on the way leaves the old one, and a file with a temporary name, which the next one removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cyborg_embedded import registry
from cyborg_embedded.custody import wrap
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import (
    CyborgError,
    IntegrityError,
    InvalidInputError,
    KeyRequiredError,
    LockedError,
    StorageFullError,
    WrongKeyError,
)
from cyborg_embedded.header import with_envelopes, with_new_key
from cyborg_embedded.keys import generate_index_key, parse_index_key, unlock, wiped
from cyborg_embedded.rewriting import check_copy, rewrite
from cyborg_embedded.saving import save_if_it_pays
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.background import Indexing
    from cyborg_embedded.header import Header
    from cyborg_embedded.home import Home
    from cyborg_embedded.keys import DerivedKeys
    from cyborg_embedded.session import Session

    Report = Callable[[int, int], None]

__all__ = ["compact", "rekey"]


def rekey(
    session: Session,
    indexing: Indexing,
    home: Home,
    new_key: object,
    drop_managers: object,
    report: Report,
) -> None:
    """Seal everything under a new index key. See `EncryptedIndex.rekey`."""
    session.check_writable()
    with session.read() as (state, _):
        before = state.snapshot.header
    with wiped(key_for(before, new_key)) as index_key:
        with contextlib.suppress(WrongKeyError):
            unlock(index_key, before.salt, before.verifier).wipe()
            message = "new_key is the key that the index has already"
            raise InvalidInputError(message)
        slots = slots_left(before, drop_managers)
        envelopes = wrap(home.kms, slots, index_key, before.index_id)
        header, keys = with_new_key(with_envelopes(before, envelopes), index_key)
    replace_file(session, indexing, home, before, header, keys, report)


def compact(session: Session, indexing: Indexing, home: Home, report: Report) -> None:
    """Write the index anew under the keys that it has. See `EncryptedIndex.compact`."""
    session.check_writable()
    with session.read() as (state, view):
        header, keys = state.snapshot.header, view.keys.copy()
    replace_file(session, indexing, home, header, header, keys, report)


def key_for(header: Header, new_key: object) -> bytearray:
    """The index key to go over to. Raises `KeyRequiredError`, `InvalidInputError`."""
    if header.managed:
        if new_key is not None:
            message = "the index is under key managers: its new key is made here, not given"
            raise InvalidInputError(message)
        return generate_index_key()
    if new_key is None:
        # Never one that is made here: if nobody keeps what is returned, all is lost.
        message = "new_key is required: the application supplies the key of this index"
        raise KeyRequiredError(message)
    return parse_index_key(new_key)


def slots_left(header: Header, drop_managers: object) -> list[str]:
    """The slots that are to hold the new key. Raises `InvalidInputError`."""
    dropped: list[object] | None = None
    if isinstance(drop_managers, Iterable) and not isinstance(drop_managers, (str, bytes)):
        dropped = list(drop_managers)
    if dropped is None or not all(isinstance(slot, str) for slot in dropped):
        message = "drop_managers must be a list of the names of key managers"
        raise InvalidInputError(message)
    for slot in dropped:
        if slot not in header.envelopes:
            message = f"drop_managers: the index has no key manager {slot!r}"
            raise InvalidInputError(message)
    left = [slot for slot in header.envelopes if slot not in dropped]
    if header.managed and not left:
        message = "drop_managers: the last key manager of an index cannot be dropped"
        raise InvalidInputError(message)
    return left


def replace_file(
    session: Session,
    indexing: Indexing,
    home: Home,
    before: Header,
    header: Header,
    keys: DerivedKeys,
    report: Report,
) -> None:
    """Write the index anew under `header` and `keys`, which become those of the session.

    `before` is the header that all this was decided by. Raises `LockedError`, `IntegrityError`,
    `StorageFullError`, `ReadOnlyError`, and what `report` raises.
    """
    with contextlib.ExitStack() as stack:
        on_failure = stack.enter_context(contextlib.ExitStack())
        on_failure.callback(keys.wipe)
        timeout = session.lock_timeout
        stack.callback(look_again, session, indexing)
        stack.enter_context(indexing.paused(timeout))
        save_if_it_pays(session)
        store = stack.enter_context(session.writing())
        with session.read() as (state, _):
            root = state.root
            if state.snapshot.header != before:
                message = "another one changed who holds the key at the same time; try again"
                raise LockedError(message)
        swap = stack.enter_context(registry.alone(store.environment, timeout=timeout))
        temporary = stack.enter_context(home.folder.rewriting(timeout=timeout))
        environment = Environment(temporary, empty=True)
        try:
            rewrite(session, PageStore(environment, header, keys), report)
            check_copy(PageStore(environment, header, keys), root.live, root.sequence)
        finally:
            environment.close()
        path = store.environment.path
        stack.enter_context(home.folder.changing(timeout=timeout))
        take_over = stack.enter_context(session.replacing())
        confirmed = [False]
        swap(lambda: confirmed.append(home.folder.replace(temporary, path)))
        on_failure.pop_all()
        # It is done, whatever becomes of this handle: an error would be taken for a failure, and
        # the new key be thrown away. A handle that cannot go on says so when it is next used.
        with contextlib.suppress(Exception):
            opened = PageStore.open_with(
                path, lambda found: same(found, header, keys), timeout=timeout
            )
            try:
                take_over(opened)
            except BaseException:
                opened.close()
                raise
        if not confirmed[-1]:
            message = "the index is under its new key, but the disk has not confirmed it: keep both"
            raise StorageFullError(message)


def look_again(session: Session, indexing: Indexing) -> None:
    """See what there is to do for the graph, whether the file was replaced or not."""
    with contextlib.suppress(CyborgError):
        with session.read():
            pass
        indexing.look_after_write()


def same(found: Header, header: Header, keys: DerivedKeys) -> DerivedKeys:
    """The keys, if they are those of the file that was found. Raises `IntegrityError`."""
    if found != header:
        keys.wipe()
        message = "the file is not the one that has just been written"
        raise IntegrityError(message)
    return keys
