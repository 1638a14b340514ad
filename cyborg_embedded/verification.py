"""`EncryptedIndex.verify`: the whole of one commit, looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cyborg_embedded.derivedcheck import check_columns, check_graph
from cyborg_embedded.environment import structural_problems
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.groundcheck import Findings, check_ground
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import TABLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

__all__ = ["Problem", "VerifyReport", "verify"]

DERIVED = frozenset({"GRAPH", "NAVIGATION", "PROJECTION", "COLUMNS"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    `kind` and `number` name the page as docs/FORMAT.md does, both None where it is not one page.
    `derived` problems cost time and no data. `repair_index` makes all that is derived anew;
    `optimize` does where a page of it does not open.
    """

    message: str
    kind: str | None = None
    number: int | None = None
    derived: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` has found in one commit."""

    sequence: int
    commit_id: bytes
    rows: int
    """Rows, deleted ones included."""
    live_rows: int
    pages: int
    """Sealed pages that the page table lists; all were opened."""
    unnamed_records: int
    """Records that no page names. They are never read: left by nobody that this library knows of,
    but no damage."""
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem at all."""
        return not self.problems

    @property
    def lossless(self) -> bool:
        """Whether all that is wrong can be made again from what is right."""
        return all(problem.derived for problem in self.problems)


def verify(session: Session, report: Callable[[int, int], None]) -> VerifyReport:
    """Look at everything that the newest commit consists of. See `EncryptedIndex.verify`."""
    structure: list[str] = []
    if not session.read_only:
        # At rest: a writer would change the tree while it is walked.
        with session.writing() as store:
            structure = structural_problems(store.environment.path)
    with session.read() as (state, view):
        snapshot = state.snapshot
        total = sum(snapshot.pages(kind) for kind in TABLED)
        findings = Findings(report, total)
        check_ground(view, state, findings)
        check_graph(view, state, findings)
        check_columns(view, state, findings)
        unnamed = view.unnamed(naming(view, state))
    problems = [Problem(f"LMDB: {text}") for text in structure]
    problems += map(problem_of, findings.errors)
    return VerifyReport(
        snapshot.root.sequence,
        snapshot.root_tag,
        snapshot.root.rows,
        snapshot.root.live,
        total,
        unnamed,
        tuple(problems),
    )


def problem_of(error: IntegrityError) -> Problem:
    """An error as a problem."""
    return Problem(str(error), error.kind, error.number, error.kind in DERIVED)


def naming(view: ReadView, state: State) -> Callable[[PageKind, int], bool]:
    """Whether a CONTENTS or METADATA page is that of a live row; the root is. Rows are asked for in
    ascending order.
    """

    @lru_cache(maxsize=1)
    def open_items(number: int) -> ItemPage:
        return ItemPage(view.open(PageKind.ITEMS, number), number)

    def is_named(kind: PageKind, row: int) -> bool:
        if kind is PageKind.ROOT:
            return row == 0
        if row >= len(state.alive) or not state.alive[row]:
            return False
        number, slot = divmod(row, ROWS_PER_PAGE)
        try:
            return open_items(number).has_apart(slot, kind)
        except IntegrityError:
            return True  # it is not known any more

    return is_named
