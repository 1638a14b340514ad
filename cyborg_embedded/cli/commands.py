"""What each command does: a few calls of the public interface.

Whatever can be wrong without a key is found before anybody is asked for one.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from cyborg_embedded.cli.care import CARE
from cyborg_embedded.cli.destination import Destination
from cyborg_embedded.cli.finding import found
from cyborg_embedded.cli.folders import client_of
from cyborg_embedded.cli.keysources import check_sources, new_source, registry_of, source
from cyborg_embedded.cli.progress import progress_bar
from cyborg_embedded.cli.rewrap import rewrap
from cyborg_embedded.cli.terminal import ask_line, say
from cyborg_embedded.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    KeyRequiredError,
)
from cyborg_embedded.keys import generate_index_key, wiped
from cyborg_embedded.names import check_name, fold

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Mapping

    from cyborg_embedded.client import Client

__all__ = ["COMMANDS"]


def keygen(options: Namespace) -> None:
    """A new index key, to a new file or to standard output."""
    if options.out is None:
        message = "say where the key is to go: --out FILE, or --out - for standard output"
        raise InvalidInputError(message)
    with Destination(options.out) as destination, wiped(generate_index_key()) as key:
        destination.deliver(key)


def create(options: Namespace) -> None:
    """A new index, under a key that is supplied or under a key manager."""
    check_sources(options)
    supplied = source(options)
    if not supplied.given and options.kms_name is None:
        message = (
            "a key is required: give --key-file, --key-env, --key-prompt or --saved-key, or the"
            " key manager that is to hold it, by --kms and --kms-name"
        )
        raise KeyRequiredError(message)
    registry = registry_of(options, wanted=not supplied.given)
    check_free(options.folder, options.name)
    key = supplied.read(f"Key of {options.name!r}", twice=True) if supplied.given else None
    with (
        contextlib.nullcontext() if key is None else wiped(key),
        client_of(options.folder, registry, make=True) as client,
    ):
        client.create_index(
            options.name,
            index_key=key,
            kms_name=options.kms_name,
            dimension=options.dimension,
            metric=options.metric,
            storage_precision=options.storage_precision,
            indexing="manual",
            lock_timeout=options.lock_timeout,
        ).close()


def check_free(folder: str, name: str) -> None:
    """Raise `InvalidInputError` for what is no name, `IndexExistsError` for one that is taken."""
    wanted = fold(check_name(name))
    with contextlib.suppress(IndexNotFoundError), client_of(folder) as client:
        if wanted in map(fold, client.list_indexes()):
            message = f"there is already an index named {name!r} (case does not matter)"
            raise IndexExistsError(message)


def info(options: Namespace) -> None:
    """What can be told of an index; what is in it, too, with a key.

    A file of key managers that only the environment names is not asked for one.
    """
    if source(options).given or options.kms is not None or options.kms_name is not None:
        with found(options) as (client, told, how):
            index = client.load_index(options.name, read_only=True, **how)
            with index:
                inside = dict(index.describe())
    else:
        with client_of(options.folder) as client:
            told, inside = client.describe_index(options.name), {}
    facts = {**told, **inside, "created": told["created"].isoformat()}
    if options.json:
        say(json.dumps(facts, indent=2))
    else:
        for line in lines(facts):
            say(line)


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Facts for people to read, one a line."""
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        if name == "key_managers":
            held = ", ".join(f"{slot} ({provider})" for slot, provider in value.items())
            text = held or "none: the key is supplied"
        elif isinstance(value, dict):
            text = json.dumps(value) if value else "-"
        else:
            text = "-" if value is None else str(value)
        yield f"{name.replace('_', ' ') + ':':<{width}}{text}"


def list_indexes(options: Namespace) -> None:
    """The names of the indexes of a folder."""
    with client_of(options.folder) as client:
        names = client.list_indexes()
    if options.json:
        say(json.dumps(names))
    else:
        for name in names:
            say(name)


def add_manager(options: Namespace) -> None:
    """One more key manager for an index."""
    with managed(options) as (client, how):
        client.add_key_manager(options.name, options.slot, **how)


def remove_manager(options: Namespace) -> None:
    """One key manager less for an index."""
    with managed(options) as (client, how):
        client.remove_key_manager(options.name, options.slot, **how)


@contextlib.contextmanager
def managed(options: Namespace) -> Iterator[tuple[Client, dict[str, Any]]]:
    """An index that is under key managers, and what a change of those takes."""
    with client_of(options.folder) as client:
        if not client.describe_index(options.name)["key_managers"]:
            message = f"{options.name!r} is under no key manager: rewrap it to one first"
            raise InvalidInputError(message)
    with found(options) as (client, _, how):
        yield client, {"kms_name": how["kms_name"], "lock_timeout": how["lock_timeout"]}


def rekey(options: Namespace) -> None:
    """An index under a new key: one that is supplied, or one that its key managers get."""
    new = new_source(options)
    with found(options) as (client, told, how):
        if told["key_managers"] and new.given:
            message = f"{options.name!r} is under key managers: its new key is made here, not given"
            raise InvalidInputError(message)
        if not told["key_managers"] and not new.given:
            message = "a new key is required: --new-key-file, --new-key-env or --new-key-prompt"
            raise KeyRequiredError(message)
        key = new.read(f"New key of {options.name!r}", twice=True) if new.given else None
        with contextlib.nullcontext() if key is None else wiped(key):
            index = client.load_index(options.name, indexing="manual", **how)
            with index, progress_bar("rekey", quiet=options.quiet) as progress:
                index.rekey(key, drop_managers=options.drop_manager, progress=progress)


def compact(options: Namespace) -> None:
    """An index without deleted items and free space."""
    with found(options) as (client, _, how):
        index = client.load_index(options.name, indexing="manual", **how)
        with index, progress_bar("compact", quiet=options.quiet) as progress:
            index.compact(progress=progress)


def delete(options: Namespace) -> None:
    """An index and all that is in it, once somebody has typed its name, or said `--yes`."""
    check_sources(options)
    if not options.yes:
        with client_of(options.folder) as client:
            name = client.describe_index(options.name)["name"]
        typed = ask_line(f"This deletes {name!r} for good. Type its name to go on")
        if typed is None:
            message = "there is no terminal to ask on: give --yes to delete without being asked"
            raise InvalidInputError(message)
        if typed != name:
            message = "nothing was deleted: what was typed is not the name of the index"
            raise InvalidInputError(message)
    with found(options) as (client, _, how):
        client.delete_index(options.name, **how)


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "keygen": keygen,
    "create": create,
    "info": info,
    "list": list_indexes,
    "rewrap": rewrap,
    "add-manager": add_manager,
    "remove-manager": remove_manager,
    "rekey": rekey,
    "compact": compact,
    "delete": delete,
    **CARE,
}
