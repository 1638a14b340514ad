"""`rewrap`: the key of an index goes into other hands, and is never in nobody's.

When it comes back from a key manager, it is known, found right, and safe at its destination before
the header of the index stops naming the manager. Whoever is killed in between has it twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cyborg_embedded.cli.attending import Remembered
from cyborg_embedded.cli.destination import Destination
from cyborg_embedded.cli.folders import client_of
from cyborg_embedded.cli.keysources import (
    KMS_VARIABLE,
    check_sources,
    opening,
    registry_of,
    source,
)
from cyborg_embedded.errors import CyborgError, InvalidInputError

if TYPE_CHECKING:
    from argparse import Namespace

    from cyborg_embedded.client import Client

__all__ = ["rewrap"]


def rewrap(options: Namespace) -> None:
    """The command. Raises what `Client.rewrap_index` raises, and `OSError`."""
    if options.to_supplied:
        to_supplied(options)
    else:
        to_manager(options)


def to_manager(options: Namespace) -> None:
    """From whoever has the key to a key manager."""
    if options.out is not None:
        message = "--out is for --to-supplied: a key manager gives no key away"
        raise InvalidInputError(message)
    check_sources(options, with_managers=True)
    registry = registry_of(options)
    if not registry.slots:
        message = f"--to-kms needs --kms, or the environment variable {KMS_VARIABLE}"
        raise InvalidInputError(message)
    registry.get(options.to_kms)
    with client_of(options.folder, registry) as client:
        held_by = client.describe_index(options.name)["key_managers"]
        with opening(options, held_by, registry) as how:
            client.rewrap_index(options.name, to_kms=options.to_kms, **how)


def to_supplied(options: Namespace) -> None:
    """From a key manager to the caller."""
    if options.out is None:
        message = "--to-supplied needs --out: a new file for the key, or '-' for standard output"
        raise InvalidInputError(message)
    if source(options).given:
        message = "--to-supplied is for an index under key managers: give --kms, and no key"
        raise InvalidInputError(message)
    remembered = Remembered(registry_of(options))
    try:
        with client_of(options.folder, remembered.registry) as client:
            held_by = client.describe_index(options.name)["key_managers"]
            if not held_by:
                message = f"the key of {options.name!r} is supplied already"
                raise InvalidInputError(message)
            with (
                opening(options, held_by, remembered.registry) as how,
                Destination(options.out) as destination,
            ):
                # Opening is what finds the key right.
                client.load_index(options.name, read_only=True, **how).close()
                remembered.settled = True
                destination.deliver(remembered.key)
                let_go(client, options, remembered.slot, destination)
    finally:
        remembered.wipe()


def let_go(client: Client, options: Namespace, slot: str | None, destination: Destination) -> None:
    """Take the index from its key managers, now that its key is safe."""
    try:
        client.rewrap_index(
            options.name, kms_name=slot, to_supplied=True, lock_timeout=options.lock_timeout
        )
    except (CyborgError, KeyboardInterrupt):
        # The file goes only if the managers are known to have the key still; after an error that
        # nobody has foreseen nothing is known.
        with contextlib.suppress(CyborgError):
            if client.describe_index(options.name)["key_managers"]:
                destination.discard()
        raise
