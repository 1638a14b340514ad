"""The index that a command is about."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cyborg_embedded.cli.folders import client_of
from cyborg_embedded.cli.keysources import check_sources, opening, registry_of, source

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from cyborg_embedded.cli.keysources import Opening
    from cyborg_embedded.client import Client
    from cyborg_embedded.clientbase import IndexInfo

__all__ = ["found"]


@contextlib.contextmanager
def found(options: Namespace) -> Iterator[tuple[Client, IndexInfo, Opening]]:
    """The index that a command is about: its client, what is told of it, and how it is opened."""
    check_sources(options)
    registry = registry_of(options, wanted=not source(options).given)
    with client_of(options.folder, registry) as client:
        told = client.describe_index(options.name, untrusted=getattr(options, "untrusted", False))
        with opening(options, told["key_managers"], registry) as how:
            yield client, told, how
