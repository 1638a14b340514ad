"""The library's files, read by a reader that knows nothing but docs/FORMAT.md."""

import contextlib
import datetime as dt
import random
import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
from reader import (
    ARRAY,
    OBJECT,
    GoesOn,
    Reached,
    RejectedError,
    decode,
    read_index,
    read_records,
    vector_layout,
)
from support import KEY, METRICS, make_index

from cyborg_embedded import Client
from cyborg_embedded.folder import Folder
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, PageKind
from cyborg_embedded.navigation import load_graph, stream_codes
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore
from cyborg_embedded.vectors import VectorLayout

LONG = (511, 512, 513, 2000)


def numbers(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def payload(number):
    """Metadata and contents of every kind and length."""
    length = LONG[number % 4]
    metadata = (None, {}, {"n": number, "é": [1.5, None, True]}, {"long": "m" * length})[number % 4]
    contents = (None, "", b"", f"text {number} ß", b"\x00\xff", "t" * length, b"b" * length)
    return metadata, contents[number % 7]


@contextlib.contextmanager
def opened(folder):
    with Client(folder) as client, client.load_index("notes", index_key=KEY) as index:
        yield index


def upsert(index, items, names, vectors, shift=0):
    """Write items, and note them in the dict `items`."""
    for number, (name, vector) in enumerate(zip(names, vectors, strict=True), shift):
        items[name] = (vector, *payload(number))
    metadata, contents = ([items[name][place] for name in names] for place in (1, 2))
    index.upsert(names, vectors, metadata, contents)


def fill(index, dimension, count):
    """New, replaced, updated and deleted items in several commits; what is there at the end."""
    items = {}
    names = [f"item {number} ü" for number in range(count)]
    vectors = numbers(1, (count, dimension))
    half = count // 2
    upsert(index, items, names[:half], vectors[:half])
    upsert(index, items, names[half:], vectors[half:], half)
    upsert(index, items, names[3::7], numbers(2, (len(names[3::7]), dimension)), 5)
    upsert(index, items, names[4::9], [items[name][0] for name in names[4::9]], 2)
    gone = names[5::6]
    assert index.delete([*gone, "never there"]) == len(gone)
    for name in gone:
        del items[name]
    return items


def check_same(folder, items):
    """Assert that the independent reader finds these items, and what the library says of them."""
    with opened(folder) as index:
        order, sequence, commit_id = index.list_ids(), index.sequence, index.commit_id
        dimension, metric = index.dimension, index.metric
    found = read_index(folder / "notes.cyb", KEY)
    assert [item.id for item in found.items] == order
    assert (found.sequence, found.commit_id) == (sequence, commit_id)
    assert (found.root["dimension"] or None, found.root["metric"]) == (dimension, metric)
    assert sorted(order) == sorted(items)
    for item in found.items:
        vector, metadata, contents = items[item.id]
        assert np.array(item.vector, "<f4").tobytes() == np.asarray(vector, "<f4").tobytes()
        assert item.metadata == metadata
        assert item.contents == contents
        assert type(item.contents) is type(contents)
    return found


def check_graph(folder, found):
    """Assert that the independent reader finds the graph that the library restores."""
    graph = found.graph
    with opened(folder) as index, index._session.read() as (_, view):
        saved = load_graph(view)
        links = saved.links
        m = 0 if saved.projection is None else saved.projection.dimensions
        least = 0 if saved.projection is None else saved.projection.least
        codes = np.zeros((saved.covered, m), np.int8)

        def take(first, part):
            codes[first : first + len(part)] = part

        if m:
            stream_codes(view, m, saved.covered, take)
    assert (graph.covered, graph.dimensions, graph.walked) == (saved.covered, m, least)
    head = (links.m, links.ef_construction, links.max_level, links.entry)
    assert (graph.m, graph.ef_construction, graph.max_level, graph.entry) == head
    assert list(graph.rows) == links.rows.tolist()
    assert graph.levels == links.levels.tobytes()
    level0 = [tuple(row[1 : 1 + row[0]]) for row in links.level0.tolist()]
    assert graph.level0 == level0
    upper = [links for lists in graph.upper for links in lists]
    assert upper == [tuple(row[1 : 1 + row[0]]) for row in links.upper.tolist()]
    if m:
        assert np.frombuffer(b"".join(graph.codes), np.int8).tolist() == codes.ravel().tolist()
        for name in ("basis", "offset", "scale", "stretch"):
            part = getattr(saved.projection, name)
            assert np.array(getattr(graph, name), "<f4").tobytes() == part.tobytes()
    else:
        assert graph.codes == []


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("page_size", [256, 1000, DEFAULT_PAGE_SIZE])
def test_items(folder, metric, page_size):
    """Everything that was written and not deleted is found, with small pages and large ones."""
    make_index(folder, "notes", KEY, dimension=7, metric=metric, page_size=page_size)
    with opened(folder) as index:
        items = fill(index, 7, 150)
    found = check_same(folder, items)
    assert found.graph is None
    assert found.graph_rejected is None


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("dimension", [7, 130, 1000])
def test_stored_in_fewer_bytes(folder, precision, dimension):
    """Vectors of every precision are read as the library reads them, near what was given."""
    with Folder(folder).creating("notes", timeout=10.0) as path:
        root = Root(sequence=1, metric="cosine", dimension=dimension, precision=precision)
        PageStore.create(path, KEY, root, page_size=512)
    given = numbers(6, (40, dimension))
    with opened(folder) as index:
        index.upsert(list(map(str, range(40))), given)
        got = np.array([item["vector"] for item in index.get(list(map(str, range(40))))])
    assert np.abs(got - given).max() < 0.03
    found = read_index(folder / "notes.cyb", KEY)
    assert np.array_equal(np.array([item.vector for item in found.items], np.float32), got)


@pytest.mark.parametrize("dimension", [53, 54, 55, 108, 109, 200])
def test_rows_about_a_page_and_longer(folder, dimension):
    """Vectors as long as a page, one less, one more, and over several pages, are read whole."""
    make_index(folder, "notes", KEY, dimension=dimension, page_size=256)
    with opened(folder) as index:
        items = fill(index, dimension, 20)
        index.optimize()
    check_graph(folder, check_same(folder, items))


def test_rows_longer_than_a_large_page(folder):
    """Vectors of the largest dimension are cut over pages of the default size."""
    make_index(folder, "notes", KEY, dimension=16_384, page_size=DEFAULT_PAGE_SIZE)
    with opened(folder) as index:
        items = fill(index, 16_384, 7)
    check_same(folder, items)


def test_an_empty_index(folder):
    """An index without rows, and one whose dimension is not set, have nothing to read."""
    make_index(folder, "notes", KEY, dimension=None)
    assert check_same(folder, {}).root["rows"] == 0
    with opened(folder) as index:
        index.upsert(["only"], [[1.0, 2.0]])
        index.delete(["only"])
    found = check_same(folder, {})
    assert (found.root["rows"], found.root["live"]) == (1, 0)


def test_merged_ids(folder):
    """Ids are found behind, in, and across a sorted prefix that has been merged."""
    make_index(folder, "notes", KEY, dimension=2, page_size=DEFAULT_PAGE_SIZE)
    names = [f"n{number}" for number in range(2600)]
    vectors = numbers(3, (2600, 2))
    with opened(folder) as index:
        index.upsert(names, vectors)
        index.delete(names[:100])
        index.upsert(names[:10], vectors[:10])
    items = {name: (vectors[n], None, None) for n, name in enumerate(names) if not 10 <= n < 100}
    root = check_same(folder, items).root
    assert 0 < root["ids"]["sorted"] < root["ids"]["entries"]


@pytest.mark.parametrize("metric", METRICS)
def test_graph_over_vectors(folder, metric):
    """A saved graph that walks the vectors is found link by link, dead rows and a tail included."""
    make_index(folder, "notes", KEY, dimension=5, metric=metric, page_size=1000)
    with opened(folder) as index:
        items = fill(index, 5, 300)
        index.optimize()
        upsert(index, items, ["item 0 ü", "late"], numbers(4, (2, 5)))
    found = check_same(folder, items)
    check_graph(folder, found)
    assert found.graph.covered < found.root["rows"]


@pytest.mark.parametrize(("metric", "page_size"), [("cosine", 1000), ("euclidean", 32_752)])
def test_graph_over_a_projection(folder, metric, page_size):
    """Projection and codes of a saved graph are found, and again after it was extended."""
    rows, d = 1200, 64
    vectors = (numbers(6, (rows, d)) * 0.93 ** np.arange(d)).astype(np.float32)
    names = [f"n{number}" for number in range(rows)]
    make_index(folder, "notes", KEY, dimension=d, metric=metric, page_size=page_size)
    items = {}
    with opened(folder) as index:
        upsert(index, items, names[:1100], vectors[:1100])
        index.delete(names[:40])
        index.optimize()
    for name in names[:40]:
        del items[name]
    found = check_same(folder, items)
    assert 0 < found.graph.walked < found.graph.dimensions
    check_graph(folder, found)
    with opened(folder) as index:
        upsert(index, items, names[1100:], vectors[1100:])
        index.optimize()
    check_graph(folder, check_same(folder, items))


def test_codes_are_what_the_document_says(folder):
    """A code is the rounded, scaled projection of the vector, of unit length under cosine."""
    rows, d = 1100, 64
    vectors = (numbers(7, (rows, d)) * 0.93 ** np.arange(d)).astype(np.float32)
    make_index(folder, "notes", KEY, dimension=d, metric="cosine", page_size=DEFAULT_PAGE_SIZE)
    with opened(folder) as index:
        index.upsert([f"n{number}" for number in range(rows)], vectors)
        index.optimize()
    graph = read_index(folder / "notes.cyb", KEY).graph
    basis = np.array(graph.basis).reshape(d, -1)
    unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    exact = (unit @ basis - np.array(graph.offset)) / np.array(graph.scale)
    codes = np.array([np.frombuffer(code, np.int8) for code in graph.codes], float)
    assert np.abs(codes - np.clip(exact, -127, 127)).max() < 0.51
    stretch = np.array(graph.stretch)
    assert (stretch >= 1).all()
    assert (stretch <= 2).all()
    assert stretch.max() > 1


HIDDEN = ("hidden", "o.hidden")
SEVERAL_WAYS = {"a.b", "a.b.c"}
"""Paths that different keys lead to below."""
PARTS = (
    lambda n: {"n": n, "half": n / 2},
    lambda n: {"o": {"p": {"q": f"text {n % 7}"}, "hidden": n, "r": None}, "hidden": {"x": n}},
    lambda n: {"tags": ["a", n, 1.5, None, True, False, {"k": [n, {"z": n}]}, [n, ["b"]], "x" * n]},
    lambda n: {"people": [{"name": "a", "age": [1, n]}, {"name": n}, "b", [{"name": "c"}], {}]},
    lambda n: {"empty": [[], {}, [[]]][n % 3], "lists": [[]] * (n % 4), "": {"": n}},
    lambda n: {"long": "ß" * (60 + n % 9), "higher": "\U0010ffff" * (63 + n % 4)},
    lambda n: {"long": "ß" * 64 + f" {n}", "deep": {"long": ["d" * 64, "d" * 65, "d" * 600]}},
    lambda n: {"large": (2**53 + 1, 2.0**53, 2**64, -(2**63) - 1, 10**40, 5e-324, -0.0, 0)[n % 8]},
    lambda n: {"truth": (True, False, None, 0, 1, "", "true")[n % 7]},
    lambda n: {"mixed": (n, str(n), -n / 7, True, None, [n, "n"], {"n": n})[n % 7]},
    lambda n: {"a.b": n, "a": {"b": [n, {"c": 1}], "b.c": "2"}},
    lambda n: {"rare": n} if n % 60 == 11 else {},
    lambda n: {"é": [[{"n": n}], {"n": [{"n": n}, {"n": [n]}]}], "again": 20.0 if n % 2 else 20},
)


def rich_metadata(number):
    """Metadata of every shape, or none."""
    draw = random.Random(number)
    merged = {"year": 1900 + number // 2, "word": f"w{number % 50}"} if number % 3 else {}
    for part in draw.sample(PARTS, draw.randrange(5)):
        merged.update(part(number))
    return merged if merged or number % 2 else None


def reached_in(metadata):
    """What each path leads to in an item, by the document: path to `Reached`."""
    found = defaultdict(lambda: Reached([], [], []))

    def kept(value):
        if isinstance(value, (dict, list)):
            return OBJECT if isinstance(value, dict) else ARRAY
        return GoesOn(value[:64]) if isinstance(value, str) and len(value) > 64 else value

    def go_on(start, value):
        for key, part in value.items() if isinstance(value, dict) else ():
            look(start + key, part)

    def look(path, value):
        if path in HIDDEN:
            return
        if not isinstance(value, list):
            found[path].values.append(kept(value))
            go_on(path + ".", value)
            return
        found[path].lengths.append(len(value))
        found[path].elements.extend(map(kept, value))
        for element in value:
            go_on(path + ".", element)

    go_on("", metadata or {})
    return found


def comparable(path, reached):
    """What a path leads to, such that true is not 1; in any order where it is free."""
    parts = [[(type(v) is bool, v) for v in part] for part in reached]
    return list(map(Counter, parts)) if path in SEVERAL_WAYS else parts


def check_columns(found, rows):
    """Assert that the columns say of these rows what the items do, and nothing of other rows."""
    by_path = found.columns.by_path
    nothing = Reached([], [], [])
    for item in found.items:
        wanted = reached_in(item.metadata)
        assert item.row not in rows or wanted.keys() <= by_path.keys()
        for path, column in by_path.items():
            if item.row not in rows:
                assert column[item.row] is None
            else:
                told, given = column[item.row], wanted.get(path, nothing)
                assert comparable(path, told) == comparable(path, given), (item.row, path)


def rich_index(folder, count, page_size):
    """An index with metadata of every shape, deleted and replaced items, and columns."""
    with Folder(folder).creating("notes", timeout=10.0) as path:
        root = Root(sequence=1, metric="cosine", dimension=3, hidden=HIDDEN)
        PageStore.create(path, KEY, root, page_size=page_size)
    names = [f"n{number}" for number in range(count)]
    vectors = numbers(9, (count, 3))
    with opened(folder) as index:
        index.upsert(names, vectors, [rich_metadata(n) for n in range(count)])
        index.upsert(names[::9], -vectors[::9], [rich_metadata(n + 5) for n in range(0, count, 9)])
        index.delete(names[4::11])
        index.optimize()
    return names, vectors


@pytest.mark.parametrize("page_size", [256, 1000, DEFAULT_PAGE_SIZE])
def test_columns(folder, page_size):
    """Columns say of every live row and path what its metadata does, with small pages and large."""
    rich_index(folder, 400, page_size)
    found = read_index(folder / "notes.cyb", KEY)
    assert found.columns_rejected is None
    assert found.columns.complete
    assert found.columns.covered == found.root["rows"]
    assert not found.columns.by_path.keys() & {*HIDDEN, "hidden.x"}
    assert found.columns.dense >= {"year", "word"}
    assert not found.columns.dense & {"rare", "tags", "people.name", "people.age"}
    assert len(found.columns.by_path) > 30
    check_columns(found, range(found.root["rows"]))
    assert found.root["hidden"] == list(HIDDEN)
    assert any("hidden" in (item.metadata or {}) for item in found.items)


def test_columns_behind_the_items(folder):
    """Rows of ITEMS pages that have changed since are told by the tags, and all others are right."""
    names, vectors = rich_index(folder, 200, 1000)
    saved = read_index(folder / "notes.cyb", KEY)
    rows = {item.id: item.row for item in saved.items}
    kept = next(name for name in names[70:] if rows.get(name) == int(name[1:]))
    with opened(folder) as index:
        # The vector is the same: the row stays, and its item changes.
        index.upsert([kept], [vectors[rows[kept]]], [{"n": "another"}])
        index.delete([names[100]])
        index.upsert(["late"], vectors[:1], [{"n": "late"}])
    found = read_index(folder / "notes.cyb", KEY)
    assert found.columns.covered == saved.root["rows"] < found.root["rows"]
    changed = {rows[kept] // 32, saved.root["rows"] // 32}
    check_columns(found, {row for row in range(saved.root["rows"]) if row // 32 not in changed})
    with opened(folder) as index:
        index.optimize()
    found = read_index(folder / "notes.cyb", KEY)
    check_columns(found, range(found.root["rows"]))


def test_points_in_time(folder):
    """A datetime is stored as the whole milliseconds since 1970 UTC, rounded down, wherever it is."""
    make_index(folder, "notes", KEY, dimension=2)
    east = dt.timezone(dt.timedelta(hours=5, minutes=30))
    given = {
        "after": dt.datetime(1970, 1, 1, 0, 0, 1, 1999, tzinfo=dt.timezone.utc),
        "before": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.timezone.utc),
        "inside": [{"east": dt.datetime(2024, 2, 29, 5, 30, tzinfo=east)}],
    }
    with opened(folder) as index:
        index.upsert(["a"], [[1.0, 2.0]], [given])
        index.optimize()
    found = read_index(folder / "notes.cyb", KEY)
    stored = {"after": 1001, "before": -1, "inside": [{"east": 1_709_164_800_000}]}
    assert found.items[0].metadata == stored
    assert found.columns.by_path["inside.east"] == [Reached([1_709_164_800_000], [], [])]


def test_widths_of_codes(folder):
    """Codes take one, two or four bytes, as many as the dictionary needs."""
    make_index(folder, "notes", KEY, dimension=2, page_size=DEFAULT_PAGE_SIZE)
    sizes = (250, 251, 65_530, 65_531)
    with opened(folder) as index:
        items = [{f"s{size}": list(range(size))} for size in sizes]
        index.upsert(list("abcd"), numbers(2, (4, 2)), items)
        index.optimize()
    found = read_index(folder / "notes.cyb", KEY)
    for row, size in enumerate(sizes):
        told = found.columns.by_path[f"s{size}"][row]
        assert told == Reached([], list(range(size)), [size])
    # Numbers and directory aside, each code takes its bytes, and its row, and a bit; zeros follow.
    numbers_bytes = sum(len(str(list(range(size))).replace(" ", "")) for size in sizes)
    codes = sum(
        size * (width + 4) + -(-size // 8) for size, width in zip(sizes, (1, 2, 2, 4), strict=True)
    )
    assert 0 < found.root["columns"]["bytes"] - numbers_bytes - codes < (numbers_bytes + codes) / 16


def test_more_paths_than_columns(folder):
    """Where not every path has a column, columns say so, and those that there are are right: also
    after some have gone, and a path that had none is met again.
    """
    make_index(folder, "notes", KEY, dimension=2, page_size=DEFAULT_PAGE_SIZE)
    items = [{"n": n, f"k{n}": {f"{m}": m for m in range(80)}} for n in range(30)]
    names, vectors = [f"n{n}" for n in range(64)], numbers(2, (64, 2))
    with opened(folder) as index:
        index.upsert(names, vectors, items + [None] * 34)
        index.optimize()
        assert index.count({"k0.7": 7}) == index.count({"k29.79": 79}) == 1
    found = read_index(folder / "notes.cyb", KEY)
    assert not found.columns.complete
    assert len(found.columns.by_path) == 2048
    check_paths_with_columns(found)
    with opened(folder) as index:
        index.upsert(names[:1], vectors[:1])
        index.optimize()
        # On another ITEMS page than the item that has the same paths.
        index.upsert(["more"], vectors[:1], items[-1:])
        index.optimize()
        assert index.count({"k29.79": 79}) == index.count({"k29": {"$exists": True}}) == 2
    found = read_index(folder / "notes.cyb", KEY)
    assert not found.columns.complete
    check_paths_with_columns(found)


def check_paths_with_columns(found):
    """Assert that each column has all that its path leads to in any item."""
    nothing = Reached([], [], [])
    for item in found.items:
        wanted = reached_in(item.metadata)
        for path, column in found.columns.by_path.items():
            assert column[item.row] == wanted.get(path, nothing), (item.row, path)


def test_different_keys_to_one_path(folder):
    """A column has what every key leads to that its path can be made of, whatever the run of rows."""
    make_index(folder, "notes", KEY, dimension=2, page_size=DEFAULT_PAGE_SIZE)
    items = [
        {"a.b": n, "a": {"b": -n - 1, "b.c": "c", "x": {"y": n}}, "a.b.c": n} for n in range(40)
    ]
    with opened(folder) as index:
        index.upsert([f"n{n}" for n in range(40)], numbers(2, (40, 2)), items)
        index.optimize()
        assert index.count({"a.b": 7}) == index.count({"a.b": -8}) == index.count({"a.b.c": 7}) == 1
        assert index.count({"a.b.c": "c"}) == 40
    found = read_index(folder / "notes.cyb", KEY)
    assert found.columns.by_path.keys() == {"a", "a.b", "a.b.c", "a.x", "a.x.y"}
    check_columns(found, range(40))


def test_an_index_without_metadata_has_no_columns(folder):
    """Where no item has had metadata, no columns are saved; where the last goes, they say so."""
    make_index(folder, "notes", KEY, dimension=2, page_size=DEFAULT_PAGE_SIZE)
    with opened(folder) as index:
        index.upsert(["a"], [[1.0, 2.0]])
        index.optimize()
        assert read_copy(folder).root["columns"] is None
        index.upsert(["a"], [[1.0, 2.0]], [{"n": 1}])
        index.optimize()
        assert read_copy(folder).columns.by_path == {"n": [Reached([1], [], [])]}
        index.upsert(["a"], [[1.0, 2.0]])
        index.optimize()
        by_path = read_copy(folder).columns.by_path
        assert all(column == [Reached([], [], [])] for column in by_path.values())


def read_copy(folder):
    """What a file that is open has in it: LMDB must not open one twice in a process."""
    copy = folder.parent / "copy.cyb"
    shutil.copyfile(folder / "notes.cyb", copy)
    return read_index(copy, KEY)


@pytest.mark.parametrize("page_size", [256, 257, 1000, 8175, 8176, 20_000, 32_752, 40_000, 1 << 20])
def test_layout_of_vectors(page_size):
    """For every dimension, document and library put the same rows into the same pages."""
    for dimension in [*range(1, 1100), *range(1100, 16_385, 61), 16_384]:
        layout = VectorLayout.of(dimension, page_size)
        wanted = (layout.rows_per_page, layout.pages_per_row, layout.page_bytes)
        assert vector_layout(dimension, page_size) == wanted, dimension


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of an index with pages of every kind."""
    folder = tmp_path_factory.mktemp("format")
    make_index(folder, "notes", KEY, dimension=64, metric="cosine", page_size=1000)
    vectors = (numbers(8, (1100, 64)) * 0.7 ** np.arange(64)).astype(np.float32)
    names = [f"n{number}" for number in range(1100)]
    with opened(folder) as index:
        index.upsert(names[40:], vectors[40:])
        upsert(index, {}, names[:40], vectors[:40])
        index.delete(["n0", "n500"])
        index.optimize()
    return read_records(folder / "notes.cyb")


def test_every_kind_is_in_the_records(records):
    """The index that is damaged below has pages of every kind."""
    assert {key[0] for key in records} == {0, *PageKind}


def rejected(records, changes):
    """The rule that records with these changes break, or that their saved graph or columns do."""
    changed = {key: value for key, value in {**records, **changes}.items() if value is not None}
    try:
        found = decode(changed, KEY)
    except RejectedError as error:
        return error.rule
    return found.graph_rejected or found.columns_rejected


def of_each_kind(records):
    """The first and the last page of every kind."""
    kinds = {}
    for key in sorted(records):
        kinds.setdefault(key[0], []).append(key)
    return sorted({key for keys in kinds.values() for key in (keys[0], keys[-1])} - {b"\x00"})


def flip(value, at, mask=0x20):
    return value[:at] + bytes([value[at] ^ mask]) + value[at + 1 :]


def test_flipped_bytes(records):
    """A flipped byte anywhere in a page is rejected: by its tag, or by authentication."""
    draw = random.Random(1)
    for key in of_each_kind(records):
        sealed = records[key]
        for at in (0, 12, 24, draw.randrange(24, len(sealed) - 16), len(sealed) - 1):
            rule = 7 if at >= len(sealed) - 16 and key[0] != PageKind.ROOT else 8
            assert rejected(records, {key: flip(sealed, at)}) == rule, (key, at)


def test_dropped_cut_and_swapped_pages(records):
    """A page that is gone, shorter, or another page of its kind, is rejected."""
    for key in of_each_kind(records):
        sealed = records[key]
        assert rejected(records, {key: None}) == 6
        assert rejected(records, {key: sealed[:39]}) == 6
        assert rejected(records, {key: sealed[:-1]}) in {7, 8}
        assert rejected(records, {key: sealed[:24] + sealed[-16:]}) == 8
    first, *_, last = (key for key in sorted(records) if key[0] == PageKind.ITEMS)
    assert rejected(records, {first: records[last], last: records[first]}) == 7


def test_edited_headers(records):
    """An edit of any byte of the header is rejected, by the rule that its field calls for."""
    rules = [2] * 16 + [3] * 2 + [4] * 4 + [8] * 26 + [5] * 64
    rules[22:28] = [8, 8, 4, 4, 4, 4]
    for at, rule in enumerate(rules):
        assert rejected(records, {b"\x00": flip(records[b"\x00"], at, 0x40)}) == rule, at
    assert rejected(records, {b"\x00": records[b"\x00"] + b"\x00"}) == 4
    assert rejected(records, {b"\x00": None}) == 2


def test_a_wrong_key(records):
    """A wrong key is told by the verifier."""
    with pytest.raises(RejectedError) as caught:
        decode(records, bytes(32))
    assert caught.value.rule == 5


def test_unknown_records_are_ignored(records):
    """Records under unknown keys, and pages that no parent names, change nothing."""
    page = next(value for key, value in records.items() if key[0] == PageKind.VECTORS)
    more = {b"\xff": b"?", b"\x00\x00": b"", b"\x03" + b"\xff" * 8: page, b"\x63" + bytes(8): page}
    assert decode({**records, **more}, KEY) == decode(records, KEY)
