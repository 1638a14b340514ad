"""The library's files, read by a reader that knows nothing but docs/FORMAT.md."""

import contextlib
import random

import numpy as np
import pytest
from reader import RejectedError, decode, read_index, read_records, vector_layout
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
        walked = 0 if saved.projection is None else saved.projection.walked
        codes = np.zeros((saved.covered, m), np.int8)

        def take(first, part):
            codes[first : first + len(part)] = part

        if m:
            stream_codes(view, m, saved.covered, take)
    assert (graph.covered, graph.dimensions, graph.walked) == (saved.covered, m, walked)
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
        for name in ("basis", "offset", "scale"):
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
    """The rule that records with these changes break, or that their saved graph does."""
    changed = {key: value for key, value in {**records, **changes}.items() if value is not None}
    try:
        return decode(changed, KEY).graph_rejected
    except RejectedError as error:
        return error.rule


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
