"""The columns of a handle: those of the commit that is asked about, made of as little as possible."""

import contextlib
import threading

import numpy as np
import pytest
from column_harness import told, wanted
from support import KEY

from cyborg_embedded import columnset
from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.columnset import ColumnSlot
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind

ROWS = 200


def vectors(count, seed=0):
    """Vectors, no two equal."""
    return np.random.default_rng(seed).normal(size=(count, 4))


def names(count):
    """Ids."""
    return [f"{number:03}" for number in range(count)]


DESCRIBED = [{"n": n, "tags": ["x", n % 5], "deep": {"m": str(n)}} for n in range(ROWS)]


@pytest.fixture
def filled(index):
    """An index of some pages of items."""
    index.upsert(names(ROWS), vectors(ROWS), DESCRIBED)
    return index


def columns_of(index):
    """The columns of the newest commit."""
    with index._session.read() as (state, view):
        return index._session.columns.get(view, state)


@pytest.fixture
def opened(monkeypatch):
    """The numbers of the item pages that are read for columns."""
    pages, read = [], columnset.metadata_of

    def counted(view, number, alive):
        pages.append(number)
        return read(view, number, alive)

    monkeypatch.setattr(columnset, "metadata_of", counted)
    return pages


def test_made_of_items(filled, opened):
    """Where there are none in the file, they are made of every item, once."""
    columns = columns_of(filled)
    assert told(columns.by_path) == wanted(DESCRIBED)
    assert (columns.rows, columns.complete) == (ROWS, True)
    assert opened == list(range(7))
    assert columns_of(filled) is columns
    assert len(opened) == 7


def test_only_what_has_changed_is_read(filled, opened):
    """After a commit the pages that it changed are read, and no other."""
    columns_of(filled)
    described = list(DESCRIBED)
    for row in (3, 70, 71):
        described[row] = {"n": "new", "other": [row]}
        filled.upsert(names(ROWS)[row : row + 1], vectors(ROWS)[row : row + 1], [described[row]])
    opened.clear()
    assert told(columns_of(filled).by_path) == wanted(described)
    assert opened == [0, 2]
    filled.upsert(["more"], vectors(1, seed=1), [{"n": -1}])
    opened.clear()
    assert told(columns_of(filled).by_path) == wanted([*described, {"n": -1}])
    assert opened == [6]


def test_deletions_read_nothing(filled, opened):
    """A deletion changes no item page: the dead rows stay in the columns, and nothing is read."""
    columns_of(filled)
    opened.clear()
    filled.delete(names(50))
    filled.count({"n": 1})
    assert opened == []


def test_loaded_from_the_file(client, filled, opened):
    """Saved columns are loaded; what they lack is read from the items."""
    filled.optimize()
    filled.upsert(names(ROWS)[40:41], vectors(ROWS)[40:41], [{"late": True}])
    described = [*DESCRIBED[:40], {"late": True}, *DESCRIBED[41:]]
    opened.clear()
    with client.load_index("notes", index_key=KEY) as again:
        assert again._session.columns.known is None
        columns = columns_of(again)
        assert again._session.columns.known is columns
        assert told(columns.by_path) == wanted(described)
        assert opened == [1]


@pytest.mark.parametrize("kept", [0, 40])
def test_damaged_columns(client, filled, opened, kept):
    """Damaged columns are made of the items again, and it is told that they were damaged."""
    filled.optimize()

    def damage(view, _):
        data = view.open(PageKind.COLUMNS, 0)
        view.seal(PageKind.COLUMNS, 0, data[:kept] + bytes(len(data) - kept))

    filled._session.write(damage)
    opened.clear()
    with client.load_index("notes", index_key=KEY, indexing="manual") as again:
        assert told(columns_of(again).by_path) == wanted(DESCRIBED)
        assert again._session.columns.damaged
        assert len(opened) == 7
        again.optimize()
        assert not again._session.columns.damaged


def test_damaged_items(filled):
    """Damaged items are no reason to be quiet: IntegrityError."""
    filled._session.write(lambda view, _: view.seal(PageKind.ITEMS, 3, b"nonsense"))
    with pytest.raises(IntegrityError):
        filled.count({"n": 1})


@contextlib.contextmanager
def elsewhere(work):
    """Run something on another thread, to its end."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    yield


def test_a_reader_of_an_older_commit(client, filled):
    """Who still reads an older commit has its columns: rows that have died and changed since are in
    them as they were.
    """
    columns_of(filled)
    session = filled._session
    with client.load_index("notes", index_key=KEY) as other, session.read() as (state, view):

        def work():
            other.delete(names(10))
            other.upsert(names(ROWS)[20:30], vectors(ROWS)[20:30], [{"n": "new"}] * 10)
            other.upsert(["new"], vectors(1, seed=1), [{"n": "new"}])
            assert filled.count({"n": "new"}) == 11

        with elsewhere(work):
            old = session.columns.get(view, state)
        assert told(old.by_path) == wanted(DESCRIBED)
        assert old.rows == ROWS
    assert filled.count({"n": "new"}) == 11
    assert filled.count({"n": {"$lt": 10}}) == 0


def test_columns_made_after_a_deletion(client, filled):
    """Columns that were made when rows had died already lack those: who still reads an older commit,
    with the same item pages, has others.
    """
    session = filled._session
    with client.load_index("notes", index_key=KEY) as other, session.read() as (state, view):

        def work():
            other.delete(names(10))
            assert filled.count({"n": {"$lt": 20}}) == 10

        with elsewhere(work):
            old = session.columns.get(view, state)
        assert told(session.columns.known.by_path) != wanted(DESCRIBED)
        assert told(old.by_path) == wanted(DESCRIBED)
    assert filled.count({"n": {"$lt": 20}}) == 10


def test_hidden_fields_are_not_in_them(client):
    """The fields that an index hides get no column, whether they come first or later."""
    schema = {"deep": {"filterable": False}, "tags": {"filterable": False}}
    with client.create_index("hidden", index_key=KEY, metadata_schema=schema) as index:
        index.upsert(names(40), vectors(40), DESCRIBED[:40])
        assert columns_of(index).by_path.keys() == {"n"}
        index.upsert(names(50)[40:], vectors(10, 1), DESCRIBED[40:50])
        assert columns_of(index).by_path.keys() == {"n"}


def test_whether_saving_pays(monkeypatch):
    """It pays where the saved columns lack many pages, and a share of all: be they new or changed."""
    monkeypatch.setattr(columnset, "UNSAVED_PAGES", 8)
    slot = ColumnSlot()
    tags = np.random.default_rng(2).bytes(200 * TAG_BYTES)
    assert slot.pays(tags)
    assert slot.pays(tags[: 8 * TAG_BYTES])
    assert not slot.pays(tags[: 7 * TAG_BYTES])
    assert slot.lacks(tags)

    class Saved:
        pass

    Saved.tags = tags
    slot.note_saved(Saved)
    assert not slot.lacks(tags)
    assert not slot.pays(tags)
    for pages, pays in ((24, False), (25, True), (30, True)):
        other = bytes(pages * TAG_BYTES) + tags[pages * TAG_BYTES :]
        assert slot.pays(other) == pays
        assert slot.lacks(other)
    assert not slot.pays(tags + bytes(20 * TAG_BYTES))
    assert slot.pays(tags + bytes(40 * TAG_BYTES))
    slot.clear()
    assert slot.lacks(tags)
    assert slot.known is None
