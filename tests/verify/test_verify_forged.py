"""verify finds what only somebody with the key can have written: pages that are authentic, and that
contradict each other.
"""

import struct
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from support import KEY, make_index
from verify_harness import DERIVED, file_of, forge, opened, replaced

from cyborg_embedded.columnpages import load_columns, save_columns
from cyborg_embedded.ids import IdCache
from cyborg_embedded.items import ItemPage, Payload, write_items
from cyborg_embedded.keys import blind
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import load_graph, save_graph, stream_codes
from cyborg_embedded.tombstones import bury

LIVE, OTHER, DEAD = 600, 601, 10
DERIVED_NAMES = {kind.name for kind in DERIVED}


def cut_item_ids(view):
    """A page of ids that says it has one less."""
    data = view.open(PageKind.ITEM_IDS, 1)
    (count,) = struct.unpack_from("<I", data)
    lengths = data[4 : 4 + 2 * count - 2]
    view.seal(PageKind.ITEM_IDS, 1, struct.pack("<I", count - 1) + lengths + data[4 + 2 * count :])


def cut_items(view):
    """A page of items that says it has one less."""
    page = ItemPage(view.open(PageKind.ITEMS, 3), 3)
    records = [page.record(slot) for slot in range(page.count - 1)]
    at = 4 * (len(records) + 2)
    offsets = [at]
    for record in records:
        offsets.append(offsets[-1] + len(record))
    head = struct.pack(f"<{len(offsets) + 1}I", len(records), *offsets)
    view.seal(PageKind.ITEMS, 3, head + b"".join(records))


def id_table(change):
    """A forgery of the id table: what `change` makes of (blinded id, row) pairs."""

    def work(view):
        table = IdCache().table(view)
        entries = table.entries(0)
        latest = {bytes(entry[:16]): entry[16:] for entry in chunks(entries.tobytes())}
        latest = {lead: row for lead, row in latest.items() if row != b"\xff" * 4}
        pairs = change(view, latest)
        data = b"".join(lead + row for lead, row in sorted(pairs.items()))
        room = (view.page_size - 40) // 20 * 20
        for page, at in enumerate(range(0, len(data), room)):
            view.seal(PageKind.IDS, page, data[at : at + room])
        view.truncate(PageKind.IDS, -(-len(data) // room))
        count = len(pairs)
        ids = msgspec.structs.replace(view.root.ids, entries=count, sorted=count)
        view.root = msgspec.structs.replace(view.root, ids=ids)

    return work


def chunks(data):
    return [data[at : at + 20] for at in range(0, len(data), 20)]


def swap(view, pairs):
    one, two = (blind(view.keys.ids, [b"n%d" % row]) for row in (LIVE, OTHER))
    return {**pairs, one: pairs[two], two: pairs[one]}


def lack(view, pairs):
    gone = blind(view.keys.ids, [b"n%d" % LIVE])
    return {lead: row for lead, row in pairs.items() if lead != gone}


def one_too_many(view, pairs):
    return {**pairs, blind(view.keys.ids, [b"never there"]): struct.pack("<I", LIVE)}


def killed(view):
    """A tombstone for a row that lives, in the root too."""
    bury(view, np.array([LIVE]), view.page_size)
    view.root = msgspec.structs.replace(view.root, live=view.root.live - 1)


def revived(view):
    """No tombstone for a row that died, in the root neither."""
    bits = bytearray(view.open(PageKind.TOMBSTONES, 0))
    assert bits[DEAD // 8] >> DEAD % 8 & 1
    bits[DEAD // 8] ^= 1 << DEAD % 8
    view.seal(PageKind.TOMBSTONES, 0, bytes(bits))
    view.root = msgspec.structs.replace(view.root, live=view.root.live + 1)


def numbers_put(*values):
    return lambda data: struct.pack_into(f"<{len(values)}f", data, 256, *values)


def payload(**values):
    return lambda view: write_items(view, view.root.rows, {LIVE: Payload(**values)})


def graph(change):
    """A forgery of the saved graph, its codes staying as they are."""

    def work(view):
        saved = load_graph(view)
        codes = np.empty((saved.covered, saved.projection.dimensions), np.int8)

        def take(first, part):
            codes[first : first + len(part)] = part

        stream_codes(view, saved.projection.dimensions, saved.covered, take)
        links, codes = change(saved.links, codes)
        save_graph(view, replace(saved, links=links), lambda row: codes[row:], 0)

    return work


def without_last_node(links, codes):
    """All nodes but the last one, which no list leads to, at level 0 alone."""
    count = len(links.rows) - 1
    level0 = np.zeros((count, links.level0.shape[1]), np.uint32)
    level0[:, 0] = 2
    level0[:, 1] = (np.arange(count) + 1) % count
    level0[:, 2] = (np.arange(count) * 7) % count
    made = replace(
        links,
        max_level=0,
        entry=0,
        rows=links.rows[:count],
        levels=np.zeros(count, np.uint8),
        level0=level0,
        upper=links.upper[:0],
    )
    return made, codes


def all_to_one(links, codes):
    level0 = np.zeros_like(links.level0)
    level0[:, 0] = 1
    level0[:, 1] = 5
    return replace(links, level0=level0), codes


def links_that_are_not_counted(links, codes):
    level0 = links.level0.copy()
    level0[level0[:, 0].argmin(), -1] = 3
    return replace(links, level0=level0), codes


def codes_of_others(links, codes):
    codes = codes.copy()
    codes[[20, 700]] = codes[[700, 20]]
    return links, codes


def other_values(view):
    """Columns in which one number stands for another."""
    saved = load_columns(view)
    column = saved.by_path["n"]
    given = list(column.numbers)
    given[-1] = given[-1] + 1
    by_path = {**saved.by_path, "n": replace(column, numbers=given)}
    save_columns(view, replace(saved, by_path=by_path))


FORGERIES = {
    "ids of a page": (cut_item_ids, {("ITEM_IDS", 1)}),
    "items of a page": (cut_items, {("ITEMS", 3)}),
    "an id leads to another row": (id_table(swap), {("ITEM_IDS", 1)}),
    "an id leads nowhere": (id_table(lack), {("IDS", 0), ("ITEM_IDS", 1)}),
    "an id too many": (id_table(one_too_many), {("IDS", 0)}),
    "a row that lives is dead": (killed, {("IDS", 0), ("ITEM_IDS", 1)}),
    "a row that is dead lives": (revived, {("IDS", 0), ("ITEM_IDS", 0)}),
    "metadata that is not JSON": (payload(metadata=b'{"n": '), {("ITEMS", LIVE // 32)}),
    "metadata that is no object": (payload(metadata=b"[1]"), {("ITEMS", LIVE // 32)}),
    "text that is not UTF-8": (
        payload(metadata=b'{"n": 1}', contents=b"\xff", is_text=True),
        {("ITEMS", LIVE // 32)},
    ),
    "a graph that lacks a row": (graph(without_last_node), {("GRAPH", 0)}),
    "links to one node": (graph(all_to_one), {("GRAPH", 0)}),
    "links behind a list": (graph(links_that_are_not_counted), {("GRAPH", 0)}),
    "codes of other vectors": (graph(codes_of_others), {("NAVIGATION", 0)}),
    "columns of other items": (other_values, {("COLUMNS", 0)}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery(case, forgery):
    """What contradicts something else is named by its page, whether or not anything is lost."""
    work, wanted = FORGERIES[forgery]
    forge(case.path, work)
    with opened(case.folder) as index:
        report = index.verify()
    derived = {kind for kind, _ in wanted} <= DERIVED_NAMES
    # What is wrong with the rows shows in what was made of them, too.
    assert wanted == {
        (problem.kind, problem.number)
        for problem in report.problems
        if derived or not problem.derived
    }
    assert all(problem.derived == (problem.kind in DERIVED_NAMES) for problem in report.problems)
    assert report.lossless == derived
    assert not report.ok


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("values", ["nan", "inf", "-inf", "zero"])
def test_vector_that_cannot_be(folder, metric, values):
    """Numbers that are not finite are named by their page; so is, where the metric needs a length,
    a vector without one.
    """
    make_index(folder, "notes", KEY, dimension=64, metric=metric, page_size=1000)
    with opened(folder) as index:
        index.upsert([f"n{number}" for number in range(9)], np.ones((9, 64)))
    given = [0.0] * 64 if values == "zero" else [float(values)]
    forge(file_of(folder), replaced(PageKind.VECTORS, 1, numbers_put(*given)))
    with opened(folder) as index:
        report = index.verify()
    found = [(problem.kind, problem.number) for problem in report.problems]
    assert found == ([] if (values, metric) == ("zero", "euclidean") else [("VECTORS", 1)])
    assert report.lossless == (not found)


def test_metadata_without_columns(folder):
    """Metadata that is not JSON is named where nothing was made of it, too."""
    make_index(folder, "notes", KEY, dimension=4)
    with opened(folder) as index:
        index.upsert([f"n{number}" for number in range(LIVE + 9)], np.ones((LIVE + 9, 4)))
    forge(file_of(folder), payload(metadata=b'{"n": '))
    with opened(folder) as index:
        report = index.verify()
    assert [(each.kind, each.number) for each in report.problems] == [("ITEMS", LIVE // 32)]


def test_same_table_is_no_forgery(case):
    """The id table written in another way, saying the same, is no problem."""
    forge(case.path, id_table(lambda _, pairs: pairs))
    with opened(case.folder) as index:
        assert index.verify().ok
