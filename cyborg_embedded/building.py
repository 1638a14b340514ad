"""How rows are brought into a graph: a few into one in use, or all into a new one.

A new one has a projection of its own, and gets its rows in an order; those that come next are
opened and encoded on another thread meanwhile.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.arrangement import SKETCHED, by_neighbourhood, from_the_centre
from cyborg_embedded.components import SAMPLE_ROWS, choose_projection
from cyborg_embedded.distance import squared_norms
from cyborg_embedded.effort import FAR_K, MEASURED_K, far_away, held_back, measure
from cyborg_embedded.navigator import Navigator
from cyborg_embedded.saving import prepared_in, prepared_vectors
from cyborg_embedded.search import nearest
from cyborg_embedded.state import NavigatorSlot
from cyborg_embedded.streaming import made_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.projection import Projection
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

__all__ = ["Job", "StoppedError", "grow", "rebuilt", "sampled"]

BLOCK_ROWS = 1024
STEP_ROWS = 32
"""Rows added to a graph in use while queries wait: about 10 ms."""


class StoppedError(Exception):
    """A job was told to stop. Nothing is lost: the rows are where they were."""


@dataclass(slots=True)
class Job:
    """How one run goes about it, and how far it is."""

    threads: int
    """On how many threads rows are added; may change meanwhile."""
    stopping: Callable[[], bool] = lambda: False
    report: Callable[[int, int], None] | None = None
    """Told of rows done and rows to do."""

    def went(self, done: int, total: int) -> None:
        """Say how far it is. Raises `StoppedError`."""
        if self.report is not None:
            self.report(done, total)
        if self.stopping():
            raise StoppedError


def grow(session: Session, state: State, navigator: Navigator, fresh: Rows, job: Job) -> None:
    """Add rows to the graph in use."""
    for start in range(0, len(fresh), BLOCK_ROWS):
        job.went(start, len(fresh))
        rows = fresh[start : start + BLOCK_ROWS]
        covered = int(rows[-1]) + 1 if start + BLOCK_ROWS < len(fresh) else state.root.rows
        step = STEP_ROWS * job.threads
        with prepared_vectors(session, rows) as vectors:
            navigator.add(rows, covered, vectors, job.threads, step)
    job.went(len(fresh), len(fresh))


def rebuilt(
    session: Session, state: State, job: Job, begin: Callable[[], None]
) -> Navigator | None:
    """A new navigator over all live rows of `state`; None where there is to be none. Calls `begin`
    when rows are going to be added, which hnswlib does without the GIL: what is done before that is
    many short calls.
    """
    root = state.root
    rows = np.flatnonzero(state.alive)
    projection, centre = None, np.zeros(root.dimension, np.float32)
    if root.metric != "inner_product":
        with prepared_vectors(session, sampled(state)) as sample:
            projection = choose_projection(sample, root.navigator_dimensions)
            centre = sample.mean(axis=0)
    if projection is not None and projection.dimensions > session.store.header.page_size - OVERHEAD:
        projection = None
    if projection is None and state.sealed:
        return None
    navigator = Navigator.empty(
        len(rows), projection, root.dimension, root.metric, lean=state.sealed
    )
    navigator.deaths = navigator.spared = state.deaths
    navigator.checked = root.rows
    if projection is not None and not state.sealed:
        navigator.codes = np.zeros((root.rows, projection.dimensions), np.int8)
    held = held_back(rows)

    def points_of(block: Rows) -> Vectors:
        with prepared_vectors(session, block) as vectors:
            # Where there is no projection these are the vectors themselves, and nothing is sealed.
            codes, points = navigator.stored(vectors)
        if navigator.codes is not None and codes is not None:
            navigator.codes[block] = codes
        return points

    most = arranged(session, projection, centre, rows[~held])
    blocks = [most[start : start + BLOCK_ROWS] for start in range(0, len(most), BLOCK_ROWS)]
    done = 0
    begin()
    with contextlib.closing(made_ahead(points_of, blocks)) as made:
        for block, points in zip(blocks, made, strict=True):
            job.went(done, len(rows))
            navigator.add_stored(block, root.rows, points, job.threads, BLOCK_ROWS)
            done += len(block)
    measure_walks(session, state, navigator, rows[held])
    navigator.add_stored(rows[held], root.rows, points_of(rows[held]), job.threads, BLOCK_ROWS)
    job.went(len(rows), len(rows))
    return navigator


def arranged(session: Session, projection: Projection | None, centre: Vectors, rows: Rows) -> Rows:
    """Rows in the order in which they are brought into a new graph."""
    sketches: list[NDArray[Any]] = []
    away = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        with prepared_vectors(session, rows[block]) as vectors:
            if projection is None:
                sketches.append(vectors[:, :SKETCHED].copy())
            else:
                sketches.append(projection.encode(vectors, SKETCHED))
                away[block] = squared_norms(np.subtract(vectors, centre, out=vectors))
    whole = np.concatenate(sketches)
    # Of vectors themselves (few dimensions, a flat spectrum) it was seen to make no difference.
    order = by_neighbourhood(whole) if projection is None else from_the_centre(whole, away)
    return rows[order]


def measure_walks(session: Session, state: State, navigator: Navigator, held: Rows) -> None:
    """See how far rows that are not in a new graph are from others, and what walks of different
    widths through it find for them.
    """
    alive = state.alive.copy()
    alive[held] = False
    k = min(MEASURED_K, int(alive.sum()))
    if k < MEASURED_K or not len(held):
        return
    with prepared_vectors(session, held) as queries, session.read() as (_, view):

        def found(navigator: Navigator | None, beam: int | None) -> Rows:
            slot = NavigatorSlot()
            slot.adopt(navigator)
            without = replace(state, alive=alive, navigator=slot)
            return nearest(without, view, lambda rows: [""] * len(rows), queries, k, beam)[0]

        true = found(None, None)
        if state.root.metric != "inner_product":
            away = []
            for query, rows in zip(queries, true[:, :FAR_K], strict=True):
                with prepared_in(view, state, rows) as vectors:
                    away.append(navigator.farthest(query, vectors))
            navigator.far = tuple(map(far_away, np.transpose(away)))
        navigator.efforts = measure(true, lambda beam: found(navigator, beam))


def sampled(state: State) -> Rows:
    """Some live rows, for a projection."""
    rows = np.flatnonzero(state.alive)
    return rows[:: max(1, -(-len(rows) // SAMPLE_ROWS))]
