"""What upsert and query accept: everything else is refused before anything is written."""

import datetime as dt
import decimal
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.batch import (
    as_queries,
    batch_from_arrays,
    batch_from_items,
    check_count,
    check_dimension,
    check_ids,
    check_queries,
    check_vectors,
)
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import (
    MAX_CONTENTS_BYTES,
    MAX_DIMENSION,
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
)


def item(**changes):
    return {"id": "a", "vector": [1, 2], **changes}


def refused(items, position):
    """Both the error and the position in it."""
    with pytest.raises(InvalidInputError) as caught:
        batch_from_items(items)
    assert caught.value.item == position
    return str(caught.value)


def test_items_become_a_batch():
    """Items are encoded in their order: ids in UTF-8, float32 vectors, compact JSON, contents."""
    batch = batch_from_items(
        [
            item(id="é", metadata={"a": [1, None]}, contents="text"),
            item(id="b", vector=np.array([3, 4], np.float64), contents=b"\x00"),
            item(id="c", metadata=None, contents=None),
            item(id="d", metadata={}, contents=""),
        ]
    )
    assert batch.vectors.dtype == np.float32
    assert batch.vectors.tolist() == [[1, 2], [3, 4], [1, 2], [1, 2]]
    first, second, third, fourth = batch.payloads
    assert batch.ids == ["é".encode(), b"b", b"c", b"d"]
    assert (first.metadata, first.contents) == (b'{"a":[1,null]}', b"text")
    assert first.is_text
    assert (second.metadata, second.contents, second.is_text) == (b"", b"\x00", False)
    assert (third.metadata, third.contents) == (b"", None)
    assert (fourth.metadata, fourth.contents, fourth.is_text) == (b"{}", b"", True)


def test_arrays_give_the_same_batch():
    """Parallel sequences give the batch that the items would give."""
    ids, vectors = ["a", "b"], np.array([[1, 2], [3, 4]], np.float32)
    metadata, contents = [{"n": 1}, None], [None, "x"]
    arrays = batch_from_arrays(ids, vectors, metadata, contents)
    items = batch_from_items(
        [
            {"id": i, "vector": v, "metadata": m, "contents": c}
            for i, v, m, c in zip(ids, vectors, metadata, contents, strict=True)
        ]
    )
    assert arrays.ids == items.ids
    assert arrays.payloads == items.payloads
    assert arrays.vectors.tolist() == items.vectors.tolist()
    for other in (tuple(ids), np.array(ids), np.array(ids, object)):
        assert batch_from_arrays(other, vectors.tolist(), None, None).vectors.shape == (2, 2)


def test_empty_batches():
    """A batch of nothing is a batch."""
    assert len(batch_from_items([])) == 0
    assert len(batch_from_items(iter([]))) == 0
    assert len(batch_from_arrays([], np.empty((0, 3)), None, None)) == 0


def test_last_of_equal_ids_wins():
    """Of items with equal ids the last is kept, where it stands."""
    batch = batch_from_items(
        [item(vector=[n, n], id="xyzxyx"[n], contents=str(n)) for n in range(6)]
    )
    assert batch.ids == [b"z", b"y", b"x"]
    assert [payload.contents for payload in batch.payloads] == [b"2", b"4", b"5"]
    assert batch.vectors[:, 0].tolist() == [2, 4, 5]


@pytest.mark.parametrize("items", [None, 1, "ab", b"ab", {"id": "a", "vector": [1]}, 1.5], ids=repr)
def test_items_must_be_a_list(items):
    """What is not a list of dicts is refused as a whole, a single dict and text too."""
    refused(items, None)


@pytest.mark.parametrize("wrong", [None, 1, "text", ["id", "a"], ("a", [1, 2])], ids=repr)
def test_an_item_must_be_a_dict(wrong):
    """An item that is not a dict is refused by its position."""
    refused([item(), item(), wrong], 2)


def test_fields():
    """An unknown or a missing field is refused by position, and the message says which fields."""
    assert "unknown field" in refused([item(), item(text="x")], 1)
    refused([{1: 2, **item()}], 0)
    assert "id" in refused([{"vector": [1]}], 0)
    assert "vector" in refused([item(), {"id": "a"}], 1)


@pytest.mark.parametrize(
    "item_id",
    [None, 1, b"a", "", "\ud800", "a\udfff", "x" * (MAX_ID_BYTES + 1), "é" * 513, ["a"], 1.0],
    ids=lambda value: ascii(value)[:12],
)
def test_bad_ids(item_id):
    """An id that is not text of 1 to 1,024 UTF-8 bytes is refused by position, never shown."""
    message = refused([item(id="fine"), item(id=item_id)], 1)
    assert "x" * 20 not in message
    with pytest.raises(InvalidInputError) as caught:
        batch_from_arrays(["fine", item_id], np.ones((2, 2)), None, None)
    assert caught.value.item == 1
    with pytest.raises(InvalidInputError) as caught:
        check_ids(["fine", item_id])
    assert caught.value.item == 1


def test_longest_ids():
    """Ids of exactly 1,024 bytes, of one, and of any character are taken."""
    ids = ["x" * MAX_ID_BYTES, "é" * 512, "🗂" * 256, "x", "\x00", " "]
    assert check_ids(ids) == [text.encode() for text in ids]
    assert check_ids(np.array(["a", "b"])) == [b"a", b"b"]
    assert check_ids([]) == []


@pytest.mark.parametrize("ids", [None, "abc", b"abc", 1, {"a": 1}, {"a"}], ids=repr)
def test_ids_must_be_a_sequence(ids):
    """One id in place of a sequence of them is refused: it would be taken letter by letter."""
    with pytest.raises(InvalidInputError):
        check_ids(ids)


BAD_METADATA = {
    "text": "x",
    "list": [1],
    "number": 1,
    "bytes": b"{}",
    "NaN": {"a": math.nan},
    "infinity": {"a": [math.inf]},
    "tuple": {"a": (1, 2)},
    "set": {"a": {1}},
    "bytes value": {"a": b"x"},
    "date": {"a": dt.date(2024, 1, 1)},
    "time": {"a": dt.datetime(2024, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
    "decimal": {"a": decimal.Decimal("1.5")},
    "object": {"a": object()},
    "number as key": {1: "a"},
    "None as key": {None: "a"},
    "nested number as key": {"a": [{"b": {2: 3}}]},
    "surrogate": {"a": "\ud800"},
    "surrogate key": {"\ud800": 1},
    "array": {"a": np.ones(2)},
    "too long": {"a": "x" * MAX_METADATA_BYTES},
}


@pytest.mark.parametrize("metadata", BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_bad_metadata(metadata):
    """Metadata that is not an object which JSON holds exactly is refused by position."""
    good = item(id="b", metadata={"a": 1})
    refused([good, item(metadata=metadata), good], 1)
    with pytest.raises(InvalidInputError) as caught:
        batch_from_arrays(["a", "b"], np.ones((2, 2)), [None, metadata], None)
    assert caught.value.item == 1


def nested(levels, innermost=None):
    value = {} if innermost is None else innermost
    for level in range(levels - 1):
        value = {"a": value} if level % 2 else [value]
    return {"a": value} if isinstance(value, list) else value


def levels_of(value):
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inner = []
        for part in level:
            parts = part.values() if isinstance(part, dict) else part
            inner += [each for each in parts if isinstance(each, (dict, list))]
        level = inner
    return deepest


@pytest.mark.parametrize("levels", [MAX_METADATA_DEPTH - 1, MAX_METADATA_DEPTH])
def test_deepest_metadata(levels):
    """Metadata of up to 32 nested levels is taken."""
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    assert levels_of(value) == levels
    assert batch_from_items([item(metadata=value)]).payloads[0].metadata


@pytest.mark.parametrize("levels", [MAX_METADATA_DEPTH + 1, 100, 600, 900, 950, 5_000, 100_000])
@pytest.mark.parametrize("kind", ["objects", "mixed"])
def test_too_deep_metadata(levels, kind):
    """Metadata nested deeper than 32 levels is refused, however deep: never a RecursionError."""
    if kind == "mixed":
        value = nested(levels)
    else:
        value = {}
        for _ in range(levels - 1):
            value = {"a": value}
    refused([item(id="b"), item(metadata=value)], 1)


def test_metadata_that_contains_itself():
    """Metadata that contains itself is refused."""
    value = {}
    value["a"] = value
    refused([item(metadata=value)], 0)


def test_wide_metadata():
    """Many objects beside each other are not deep, and are taken."""
    value = {"a": [{"b": [n]} for n in range(200)]}
    assert batch_from_items([item(metadata=value)]).payloads[0].metadata


def test_longest_metadata():
    """Metadata of exactly 1 MiB as JSON is taken."""
    value = {"a": "x" * (MAX_METADATA_BYTES - len('{"a":""}'))}
    assert len(batch_from_items([item(metadata=value)]).payloads[0].metadata) == MAX_METADATA_BYTES


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_json_objects_read_back_equal(metadata):
    """Any JSON object reads back equal and of the same types, or is refused, never changed."""
    import msgspec

    try:
        encoded = batch_from_items([item(metadata=metadata)]).payloads[0].metadata
    except InvalidInputError:
        return
    assert repr(msgspec.json.decode(encoded)) == repr(metadata)


@pytest.mark.parametrize("contents", [1, 1.5, ["x"], {"a": 1}, True, np.ones(3)], ids=repr)
def test_bad_contents(contents):
    """Contents that are neither text nor bytes are refused by position."""
    refused([item(), item(contents=contents)], 1)


def test_contents():
    """Text without surrogates, bytes, bytearray and memoryview are contents, to the limit."""
    refused([item(contents="\ud800")], 0)
    refused([item(contents=bytes(MAX_CONTENTS_BYTES + 1))], 0)
    for given_contents in (b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"a-b")[::2]):
        payload = batch_from_items([item(contents=given_contents)]).payloads[0]
        assert (payload.contents, payload.is_text) == (b"ab", False)
    payload = batch_from_items([item(contents=bytes(MAX_CONTENTS_BYTES))]).payloads[0]
    assert len(payload.contents) == MAX_CONTENTS_BYTES


BAD_VECTORS = {
    "None": None,
    "number": 1.0,
    "text": "12",
    "texts": ["1", "2"],
    "complex": [1j, 2],
    "booleans": [True, False],
    "objects": [object(), 1],
    "ragged": [[1, 2], [3]],
    "matrix": [[1, 2], [3, 4]],
    "other length": [1, 2, 3],
    "huge integers": [10**400, 1],
    "dates": np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"),
    "bytes": b"12",
    "dict": {1: 2},
}


@pytest.mark.parametrize("vector", BAD_VECTORS.values(), ids=BAD_VECTORS.keys())
def test_bad_vectors(vector):
    """A vector that is not a list of real numbers of one length is refused by position."""
    refused([item(), item(vector=vector)], 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", "u8", "i8", "g"])
def test_number_types(dtype):
    """Every real number type becomes float32."""
    vectors = np.array([[1, 2], [3, 4]], dtype)
    batch = batch_from_arrays(["a", "b"], vectors, None, None)
    assert batch.vectors.dtype == np.dtype("=f4")
    assert batch.vectors.tolist() == [[1, 2], [3, 4]]


def test_vectors_are_copied():
    """A batch keeps what it was given, whatever the caller does to the array afterwards."""
    vectors = np.ones((2, 3), np.float32)
    batch = batch_from_arrays(["a", "b"], vectors, None, None)
    vectors[:] = np.nan
    assert batch.vectors.tolist() == [[1, 1, 1]] * 2
    contents = bytearray(b"x")
    payload = batch_from_items([item(contents=contents)]).payloads[0]
    contents[0] = 0
    assert payload.contents == b"x"


def test_strided_vectors():
    """Transposed and strided arrays are taken by value, and become contiguous."""
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    batch = batch_from_arrays(["a", "b"], vectors, None, None)
    assert batch.vectors.tolist() == vectors.tolist()
    assert batch.vectors.flags.c_contiguous


@pytest.mark.parametrize(
    "arguments",
    [
        (["a"], [[1, 2], [3, 4]], None, None),
        (["a", "b"], [1, 2], None, None),
        (["a"], [[[1, 2]]], None, None),
        (["a", "b"], [[1, 2], [3]], None, None),
        (["a", "b"], [[1, 2], [3, 4]], [None], None),
        (["a", "b"], [[1, 2], [3, 4]], None, ["x", "y", "z"]),
        (["a", "b"], [[1, 2], [3, 4]], {"a": 1}, None),
        (["a", "b"], [[1, 2], [3, 4]], None, "xy"),
        ("ab", [[1, 2], [3, 4]], None, None),
        (None, [[1, 2]], None, None),
        (np.array([["a"]]), [[1, 2]], None, None),
    ],
    ids=range(11),
)
def test_arrays_that_do_not_match(arguments):
    """Sequences of other lengths or shapes than the ids are refused."""
    with pytest.raises(InvalidInputError):
        batch_from_arrays(*arguments)


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean", "cosine", "inner_product"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20, -1e20])
def test_vectors_without_distances(metric, bad):
    """NaN, infinity and values whose squares overflow float32 are refused by position."""
    vectors = np.ones((5, 3), np.float32)
    vectors[3, 1] = bad
    with pytest.raises(InvalidInputError) as caught:
        check_vectors(vectors, metric)
    assert caught.value.item == 3


def test_too_large_for_float32():
    """A float64 beyond float32 is refused as infinity, without a warning."""
    batch = batch_from_arrays(["a"], np.array([[1e300, 0]]), None, None)
    with pytest.raises(InvalidInputError):
        check_vectors(batch.vectors, "euclidean")


def test_largest_vectors_keep_distances_finite():
    """Two opposite vectors of the largest norm that is taken have a finite squared distance."""
    vector = np.zeros((1, 4), np.float32)
    vector[0, 0] = 2.0**62.5
    check_vectors(vector, "squared_euclidean")
    difference = vector - -vector
    assert np.isfinite(np.einsum("ij,ij->i", difference, difference)).all()
    vector[0, 0] *= np.float32(1.001)
    with pytest.raises(InvalidInputError):
        check_vectors(vector, "squared_euclidean")


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_zero_vectors(value):
    """A vector of length zero is refused under cosine, by position, and only there."""
    vectors = np.ones((4, 3), np.float32)
    vectors[2] = value
    with pytest.raises(InvalidInputError) as caught:
        check_vectors(vectors, "cosine")
    assert caught.value.item == 2
    for metric in ("euclidean", "squared_euclidean", "inner_product"):
        check_vectors(vectors, metric)


def test_tiny_vectors_have_a_direction():
    """A vector whose square underflows float32, but whose length does not, is fine under cosine."""
    check_vectors(np.array([[1e-30, 0], [1e-44, 1e-44]], np.float32), "cosine")


@pytest.mark.parametrize("dimension", [1, 2, MAX_DIMENSION])
def test_dimension(dimension):
    """Vectors of the index's dimension are taken, others refused."""
    check_dimension(np.empty((1, dimension), np.float32), dimension)
    for given_dimension in (dimension + 1, dimension - 1, 0):
        with pytest.raises(InvalidInputError):
            check_dimension(np.empty((1, given_dimension), np.float32), dimension)
    with pytest.raises(InvalidInputError):
        check_dimension(np.empty((1, MAX_DIMENSION + 1), np.float32), MAX_DIMENSION + 1)


def test_queries():
    """One vector is one query, a matrix several, and the caller learns which it was."""
    queries, single = as_queries([1, 2])
    assert (queries.tolist(), queries.dtype, single) == ([[1, 2]], np.float32, True)
    queries, single = as_queries([[1, 2]])
    assert (queries.tolist(), single) == ([[1, 2]], False)
    queries, single = as_queries(np.empty((0, 2)))
    assert (queries.shape, single) == ((0, 2), False)
    check_queries(queries, 2, "cosine")
    check_queries(np.ones((1, 3), np.float32), 0, "cosine")


@pytest.mark.parametrize(
    "queries",
    [None, 1.0, [], [1, 2, 3], [[1, 2, 3]], [[[1, 2]]], "ab", [[1, 2], [3]], [np.nan, 1], [0, 0]],
    ids=range(10),
)
def test_bad_queries(queries):
    """Queries of another shape or dimension, or without a distance, are refused."""
    with pytest.raises(InvalidInputError):
        check_queries(as_queries(queries)[0], 2, "cosine")


@pytest.mark.parametrize("top_k", [1, 10, np.int64(3), 10**9])
def test_top_k(top_k):
    """Any whole number from one on is a top_k."""
    checked = check_count(top_k, "top_k")
    assert type(checked) is int
    assert checked == top_k


@pytest.mark.parametrize("top_k", [0, -1, True, False, 1.0, "1", None, np.float32(2)], ids=repr)
def test_bad_top_k(top_k):
    """Zero, negative numbers, booleans and what is not a whole number are refused."""
    with pytest.raises(InvalidInputError):
        check_count(top_k, "top_k")


def test_batches_never_print():
    """The repr of a batch and of its payloads shows nothing of what they hold."""
    batch = batch_from_items([item(id="secret-id", metadata={"k": "secret"}, contents="secret")])
    assert "secret" not in repr(batch) + repr(batch.payloads)
