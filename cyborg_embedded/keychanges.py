"""Who holds the key of an index, changed in place: a commit of header and root, and nothing else.

The index key stays what it is, so whoever knows it or has an old copy of the file goes on having
access to that; only a new key ends it (`EncryptedIndex.rekey`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cyborg_embedded.checks import check_timeout
from cyborg_embedded.clientbase import ClientBase
from cyborg_embedded.custody import Custody, wrap
from cyborg_embedded.envelopes import MAX_ENVELOPES
from cyborg_embedded.errors import InvalidInputError, LockedError
from cyborg_embedded.header import with_envelopes
from cyborg_embedded.session import Session
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.envelopes import Envelopes
    from cyborg_embedded.header import Header
    from cyborg_embedded.pages import WriteView

__all__ = ["KeyChanges"]


class KeyChanges(ClientBase):
    """The changes of who holds the key of an index. See `Client`."""

    def export_key(
        self, name: str, *, kms_name: str | None = None, lock_timeout: float = 10.0
    ) -> bytes:
        """The index key of an index under key managers, 32 bytes: for a safe, or to be kept before
        `rewrap_index(to_supplied=True)` makes it the only way in. Nothing is changed.

        Whoever sees it has access until the next `EncryptedIndex.rekey`. Raises as `rewrap_index`
        does.
        """
        self._check_open()
        timeout = check_timeout(lock_timeout)
        header = PageStore.peek(self._folder.find(name), timeout=timeout)
        with (
            Custody(self._kms, None, kms_name) as custody,
            custody.opened(header) as (key, keys),
        ):
            keys.wipe()
            return bytes(key)

    def rewrap_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        kms_name: str | None = None,
        to_kms: str | None = None,
        to_supplied: bool = False,
        lock_timeout: float = 10.0,
    ) -> bytes | None:
        """Put the key of an index into other hands, without touching what it protects.

        The index is opened by its `index_key`, or by its key managers (by the one of `kms_name`
        alone, if that is given). From then on the key manager of the slot `to_kms`, and no other,
        holds the key; or, with `to_supplied`, the application does: then the index key, unchanged,
        is returned (`export_key` gives it before, so that it can be kept first). One commit that
        takes as long on any index. Open handles go on; one that has to ask a remote manager again
        is locked if its client has none of the new ones.

        It does not revoke a key that somebody knows: only `EncryptedIndex.rekey` does.

        Raises `InvalidInputError`, `KeyRequiredError`, `IndexNotFoundError`, `WrongKeyError`,
        `KeyManagerError`, `LockedError`, `ReadOnlyError`, `StorageFullError`.
        """
        if (to_kms is None) != bool(to_supplied):
            message = "give either to_kms or to_supplied=True"
            raise InvalidInputError(message)
        returned: list[bytes] = []

        def new(header: Header, key: bytearray) -> Envelopes:
            if to_kms is None:
                returned[:] = [bytes(key)]
                return {}
            return wrap(self._kms, [to_kms], key, header.index_id)

        with Custody(self._kms, index_key, kms_name) as custody:
            if to_kms is not None:
                self._kms.get(to_kms)
            self._change(name, custody, new, lock_timeout)
        return returned[0] if returned else None

    def add_key_manager(
        self,
        name: str,
        slot: str,
        *,
        kms_name: str | None = None,
        lock_timeout: float = 10.0,
    ) -> None:
        """Let one more key manager hold the key of an index: any one of them opens it.

        For an index under key managers: `rewrap_index` brings it there. A manager that holds the
        key already wraps it anew, under what is its newest secret. `kms_name` is the slot that is
        asked for the key; None for any. Raises as `rewrap_index` does.
        """
        self._kms.get(slot)

        def new(header: Header, key: bytearray) -> Envelopes:
            if len(header.envelopes.keys() | {slot}) > MAX_ENVELOPES:
                message = f"an index has at most {MAX_ENVELOPES} key managers"
                raise InvalidInputError(message)
            return header.envelopes | wrap(self._kms, [slot], key, header.index_id)

        with Custody(self._kms, None, kms_name) as custody:
            self._change(name, custody, new, lock_timeout)

    def remove_key_manager(
        self,
        name: str,
        slot: str,
        *,
        kms_name: str | None = None,
        lock_timeout: float = 10.0,
    ) -> None:
        """Remove the envelope of a key manager from an index; not the last one.

        Copies of the file that were made before have it still, and free pages of the file may: if
        whoever had access that way is to lose it, `EncryptedIndex.rekey` comes after this. The
        manager itself is not asked, unless it is the only one that can be. Raises as
        `rewrap_index` does.
        """

        def new(header: Header, _: bytearray) -> Envelopes:
            left = {known: each for known, each in header.envelopes.items() if known != slot}
            if len(left) == len(header.envelopes):
                message = f"the index has no key manager {slot!r}"
                raise InvalidInputError(message)
            if not left:
                message = "the last key manager of an index cannot be removed; rewrap it instead"
                raise InvalidInputError(message)
            return left

        with Custody(self._kms, None, kms_name) as custody:
            self._change(name, custody, new, lock_timeout)

    def _change(
        self,
        name: str,
        custody: Custody,
        new: Callable[[Header, bytearray], Envelopes],
        lock_timeout: float,
    ) -> None:
        """Commit other envelopes. Key managers are asked before any lock is taken."""
        self._check_open()
        timeout = check_timeout(lock_timeout)
        path = self._folder.find(name)
        with contextlib.ExitStack() as stack:
            before = PageStore.peek(path, timeout=timeout)
            key, keys = stack.enter_context(custody.opened(before))
            stack.callback(keys.wipe)
            envelopes = new(before, key)
            store = PageStore.open(path, key, timeout=timeout)
            session = Session(store, lock_timeout=timeout)
            stack.callback(session.close)

            def commit(view: WriteView, _: object) -> None:
                if view.header != before:
                    message = "another one changed who holds the key at the same time; try again"
                    raise LockedError(message)
                view.header = with_envelopes(before, envelopes)

            session.write(commit)
