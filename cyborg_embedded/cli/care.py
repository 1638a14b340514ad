"""What is done for an index so that nothing is lost: it is looked at, copied, and repaired."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cyborg_embedded.cli.finding import found
from cyborg_embedded.cli.folders import client_of
from cyborg_embedded.cli.keysources import check_sources, registry_of, source
from cyborg_embedded.cli.progress import progress_bar
from cyborg_embedded.cli.terminal import say
from cyborg_embedded.errors import IntegrityError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from cyborg_embedded.salvaging import RepairReport
    from cyborg_embedded.verification import VerifyReport

__all__ = ["CARE"]


def verify(options: Namespace) -> None:
    """Look at everything in an index. Raises `IntegrityError` if something is wrong."""
    with found(options) as (client, _, how):
        index = client.load_index(
            options.name, indexing="manual", untrusted=options.untrusted, **how
        )
        with index, progress_bar("verify", quiet=options.quiet) as progress:
            report = index.verify(progress=progress)
    if options.json:
        say(json.dumps(told(report), indent=2))
    else:
        say(f"{report.live_rows} items, {report.pages} pages looked at")
        for problem in report.problems:
            say(f"{'derived: ' if problem.derived else ''}{problem.message}")
    if not report.ok:
        lost = "what is derived is damaged, no data" if report.lossless else "data is damaged"
        message = f"{len(report.problems)} problems: {lost}"
        raise IntegrityError(message)


def told(report: VerifyReport) -> dict[str, Any]:
    """A report as JSON has it."""
    facts = asdict(report)
    return {**facts, "commit_id": report.commit_id.hex(), "ok": report.ok}


def backup(options: Namespace) -> None:
    """Copy an index into a new file."""
    with (
        found(options) as (client, _, how),
        client.load_index(options.name, indexing="manual", **how) as index,
    ):
        index.backup(options.to, check=not options.unchecked)


def restore(options: Namespace) -> None:
    """Make an index from a backup."""
    check_sources(options)
    supplied = source(options)
    registry = registry_of(options, wanted=not supplied.given)
    with client_of(options.folder, registry, make=True) as client:
        client.restore_index(
            options.name,
            options.backup,
            index_key=supplied.read("Key of the backup") if supplied.given else None,
            kms_name=options.kms_name,
            check=not options.unchecked,
            lock_timeout=options.lock_timeout,
        )


def repair(options: Namespace) -> None:
    """Save what can be saved of an index into a new one. Raises `IntegrityError` if that is not
    all of it.
    """
    options.untrusted = True  # it is damaged: who knows how
    with (
        found(options) as (client, _, how),
        progress_bar("repair", quiet=options.quiet) as progress,
    ):
        report = client.repair_index(options.name, to=options.to, progress=progress, **how)
    for line in summary(report):
        say(line)
    if report.lost:
        message = f"{len(report.lost)} items are lost"
        raise IntegrityError(message)


def summary(report: RepairReport) -> list[str]:
    """What a repair has come to, for people to read."""
    told = [f"{report.saved} items saved"]
    told += [f"lost: {item_id!r}" for item_id in report.lost_ids]
    unnamed = len(report.lost) - len(report.lost_ids)
    if unnamed:
        told.append(f"lost: {unnamed} whose ids could not be read")
    if report.maybe_old:
        told.append("a part of the page table was lost: some items may be of earlier commits")
    if report.maybe_deleted:
        told.append("tombstones were lost: items may be there that had been deleted")
    return told


CARE: dict[str, Callable[[Namespace], None]] = {
    "verify": verify,
    "backup": backup,
    "restore": restore,
    "repair": repair,
}
