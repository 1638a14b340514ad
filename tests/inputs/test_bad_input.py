"""Bad input is refused with a typed error, and changes nothing."""

import copy
import datetime as dt
import decimal
import enum
import fractions
import math
import os
import pickle
import shutil
import struct
import tempfile
import uuid

import lmdb
import numpy as np
import pytest
from support import KEY, contents_of, make_index, read_pages, run_python, write_pages

from cyborg_embedded import (
    Client,
    ClosedError,
    CyborgError,
    FormatError,
    IndexExistsError,
    IndexNotFoundError,
    IntegrityError,
    InvalidInputError,
    KeyRequiredError,
    ReadOnlyError,
    UnsupportedVersionError,
    WrongKeyError,
)

GOOD = [1.0, 2.0, 3.0, 4.0]
HEADER = b"\x00"
WRONG_KEY = bytes(32)


def fingerprint(index):
    """All that a refused call must leave as it was."""
    return (
        index.sequence,
        index.commit_id,
        len(index),
        index.list_ids(),
        index.dimension,
        contents_of(index),
        index.query(GOOD, top_k=3),
    )


@pytest.fixture(scope="module")
def prototype(tmp_path_factory):
    """Two indexes for all the calls that must not change them."""
    folder = tmp_path_factory.mktemp("inputs")
    with Client(folder) as client:
        for metric in ("euclidean", "cosine"):
            index = client.create_index(metric, index_key=KEY, metric=metric)
            index.upsert(["a", "b", "c"], np.eye(3, 4), [{"n": 1}, None, {}], ["text", b"\x00", ""])
            index.close()
    return folder


@pytest.fixture
def shared(prototype, tmp_path):
    """A client of a copy of them."""
    for name in ("euclidean", "cosine"):
        shutil.copy(prototype / f"{name}.cyb", tmp_path)
    with Client(tmp_path) as client:
        yield client


@pytest.fixture
def stored(shared):
    """That index, which is compared afterwards with what it was before."""
    with shared.load_index("euclidean", index_key=KEY) as index:
        before = fingerprint(index)
        yield index
        assert fingerprint(index) == before
    with shared.load_index("euclidean", index_key=KEY) as index:
        assert fingerprint(index) == before


@pytest.fixture
def stored_cosine(shared):
    """The same under cosine."""
    with shared.load_index("cosine", index_key=KEY) as index:
        before = fingerprint(index)
        yield index
        assert fingerprint(index) == before


def refuses(call, *arguments, item=None, **options):
    """Assert that a call is refused as invalid, naming the item where there is one."""
    with pytest.raises(InvalidInputError) as caught:
        call(*arguments, **options)
    assert isinstance(caught.value, ValueError)
    if item is not None:
        assert caught.value.item == item
        assert str(caught.value).startswith(f"item {item}: ")


# --- keys -----------------------------------------------------------------------------------

NOT_KEYS = {
    "31 bytes": KEY[:31],
    "33 bytes": KEY + b"x",
    "no bytes": b"",
    "63 hex characters": KEY.hex()[:63],
    "65 hex characters": KEY.hex() + "0",
    "32 characters": "k" * 32,
    "not hex": "g" * 64,
    "spaces": " " + KEY.hex()[:62] + " ",
    "prefixed": "0x" + KEY.hex()[:62],
    "fullwidth digits": "\uff10" * 64,
    "number": 12345,
    "list": list(KEY),
    "array": np.frombuffer(KEY, np.uint8),
    "memoryview": memoryview(KEY),
}


@pytest.mark.parametrize("case", NOT_KEYS)
def test_what_is_not_a_key(shared, stored, case):
    """Anything but 32 bytes or 64 hex characters is refused wherever a key is taken."""
    refuses(shared.create_index, "other", index_key=NOT_KEYS[case])
    refuses(shared.load_index, "euclidean", index_key=NOT_KEYS[case])
    refuses(shared.delete_index, "euclidean", index_key=NOT_KEYS[case])
    assert shared.list_indexes() == ["cosine", "euclidean"]


@pytest.mark.parametrize("key", [WRONG_KEY, KEY[::-1], "00" * 32], ids=["zero", "mirror", "hex"])
def test_wrong_key(shared, stored, key):
    """Another key neither opens nor deletes an index."""
    with pytest.raises(WrongKeyError) as caught:
        shared.load_index("euclidean", index_key=key)
    assert isinstance(caught.value, PermissionError)
    with pytest.raises(WrongKeyError):
        shared.load_index("euclidean", index_key=key, read_only=True, min_sequence=0)
    with pytest.raises(WrongKeyError):
        shared.delete_index("euclidean", index_key=key)
    assert shared.list_indexes() == ["cosine", "euclidean"]


def test_no_key(shared, stored):
    """Without a key, nothing is made, opened or deleted."""
    with pytest.raises(KeyRequiredError) as caught:
        shared.load_index("euclidean")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(KeyRequiredError):
        shared.create_index("other")
    with pytest.raises(KeyRequiredError):
        shared.delete_index("euclidean")
    with pytest.raises(KeyRequiredError):
        shared.load_index("euclidean", index_key=None)
    assert shared.list_indexes() == ["cosine", "euclidean"]


def test_other_spellings_of_a_key(shared):
    """A key as bytearray, or as hex in either case, is the same key."""
    for key in (bytearray(KEY), KEY.hex(), KEY.hex().upper()):
        shared.load_index("euclidean", index_key=key).close()


# --- queries --------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, -1, 1.5, 1.0, True, "3", None, [3], math.nan, np.float32(2)])
def test_bad_top_k(stored, top_k):
    """`top_k` is a positive whole number and nothing else."""
    refuses(stored.query, GOOD, top_k=top_k)


@pytest.mark.parametrize("top_k", [10**30, 2**31, 2**63, np.int64(7)])
def test_large_top_k(stored, top_k):
    """However large `top_k` is, the answer is the whole index."""
    assert [result["id"] for result in stored.query(GOOD, top_k=top_k)] == ["c", "b", "a"]


SIGNALLING = np.frombuffer(struct.pack("<4Q", *[0x7FF0000000000001] * 4), np.float64)
BAD_VECTORS = {
    "NaN": [1.0, math.nan, 0.0, 0.0],
    "signalling NaN": SIGNALLING,
    "infinity": [math.inf, 0.0, 0.0, 0.0],
    "minus infinity": [0.0, 0.0, 0.0, -math.inf],
    "larger than float32": [1e39, 0.0, 0.0, 0.0],
    "norm overflows": [1e19, 1e19, 1e19, 1e19],
    "one overflows": [1e20, 0.0, 0.0, 0.0],
    "too short": [1.0, 2.0, 3.0],
    "too long": [1.0] * 5,
    "empty": [],
    "complex": np.ones(4, complex),
    "text": ["1.0"] * 4,
    "bytes": b"abcd",
    "one text": "abcd",
    "object": np.array([1.0, None, 3.0, 4.0], object),
    "decimal": [decimal.Decimal(1)] * 4,
    "fractions": [fractions.Fraction(1, 2)] * 4,
    "huge integers": [10**40, 0, 0, 0],
    "dates": np.array(["2020-01-01"] * 4, "M8[D]"),
    "durations": np.array([1, 2, 3, 4], "m8[s]"),
    "records": np.zeros(4, [("x", "f4")]),
    "ragged": [1.0, [2.0], 3.0, 4.0],
    "dict": {"x": 1},
    "set": {1.0, 2.0, 3.0, 4.0},
    "number": 1.0,
    "none": None,
    "generator": (number for number in GOOD),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_bad_vectors_in_a_batch(stored, case, position):
    """A vector that is none, anywhere in a batch, refuses the whole batch."""
    vectors = [GOOD] * 3
    vectors[position] = BAD_VECTORS[case]
    refuses(stored.upsert, ["a", "new", "b"], vectors)
    items = [{"id": name, "vector": vector} for name, vector in zip("axb", vectors, strict=True)]
    refuses(stored.upsert, items)


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_bad_queries(stored, case):
    """A query that is no vector is refused, alone and in a batch."""
    refuses(stored.query, BAD_VECTORS[case])
    refuses(stored.query, [GOOD, BAD_VECTORS[case]])


def test_bad_shapes(stored):
    """Vectors are one-dimensional, batches two-dimensional, and of the index's dimension."""
    refuses(stored.query, np.zeros((1, 1, 4)))
    refuses(stored.query, np.zeros((2, 3)))
    refuses(stored.query, np.zeros((4, 0)))
    refuses(stored.upsert, ["x"], np.zeros((1, 1, 4)))
    refuses(stored.upsert, ["x"], np.zeros((1, 5)))
    refuses(stored.upsert, ["x"], np.zeros((1, 0)))
    refuses(stored.upsert, ["x"], np.ones((1, 4), bool))
    refuses(stored.query, [True, False, True, False])
    refuses(stored.upsert, ["x"], GOOD)
    refuses(stored.upsert, [{"id": "x", "vector": [GOOD]}])
    refuses(stored.upsert, ["x", "y"], np.zeros((3, 4)))
    refuses(stored.upsert, ["x", "y", "z"], np.zeros((2, 4)))
    deep = GOOD
    for _ in range(70):
        deep = [deep]
    refuses(stored.query, deep)
    loop = []
    loop.append(loop)
    refuses(stored.query, loop)


def test_the_item_is_named(stored):
    """The error for an item names its position in the batch."""
    vectors = np.ones((5, 4))
    vectors[3, 2] = np.nan
    refuses(stored.upsert, list("abcde"), vectors, item=3)
    refuses(stored.upsert, ["a", "b", ""], np.ones((3, 4)), item=2)
    refuses(stored.upsert, ["a", "b"], np.ones((2, 4)), [None, {"x": math.nan}], item=1)
    refuses(stored.upsert, ["a", "b"], np.ones((2, 4)), None, ["x", 7], item=1)
    refuses(stored.upsert, [{"id": "a", "vector": GOOD}, {"id": "b"}], item=1)
    refuses(stored.upsert, [{"id": "a", "vector": GOOD}, {"id": "b", "vector": [1.0]}], item=1)


def test_zero_vector_under_cosine(stored_cosine, stored):
    """A vector without a direction is refused under cosine, and only there."""
    for vector in (np.zeros(4), np.full(4, 1e-60), np.full(4, -0.0)):
        refuses(stored_cosine.query, vector)
        refuses(stored_cosine.query, [GOOD, vector])
        refuses(stored_cosine.upsert, ["x", "y"], [GOOD, vector], item=1)
        assert len(stored.query(vector)) == 3
    assert len(stored_cosine.query(np.full(4, 1e-30))) == 3


def test_the_first_batch_does_not_set_a_bad_dimension(client):
    """A refused first batch leaves the dimension open."""
    with client.create_index("open", index_key=KEY) as index:
        for vectors in (np.zeros((1, 0)), np.zeros((1, 16_385)), [[math.nan] * 7], [[1.0], [1, 2]]):
            refuses(index.upsert, ["a"] * len(vectors), vectors)
            refuses(index.upsert, [{"id": "a", "vector": vector} for vector in vectors])
        assert index.dimension is None
        assert index.sequence == 1
        index.upsert(["a"], np.zeros((1, 16_384)))
        assert index.dimension == 16_384


# --- items ----------------------------------------------------------------------------------

BAD_IDS = {
    "empty": "",
    "number": 7,
    "none": None,
    "bytes": b"a",
    "list": ["a"],
    "1,025 bytes": "x" * 1025,
    "1,026 bytes of 513 characters": "é" * 513,
    "10 MB": "x" * 10_000_000,
    "lone surrogate": "a\ud800",
    "low surrogate": "\udfff",
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_bad_ids(stored, case):
    """An id is text of 1 to 1,024 bytes, for every method that takes one."""
    bad = BAD_IDS[case]
    for names in ([bad, "a"], ["a", bad], [bad]):
        refuses(stored.upsert, names, [GOOD] * len(names), item=names.index(bad))
        items = [{"id": name, "vector": GOOD} for name in names]
        refuses(stored.upsert, items, item=names.index(bad))
        refuses(stored.get, names)
        refuses(stored.delete, names)


def test_ids_at_their_limit(index):
    """An id may have 1 byte, and 1,024, of any characters at all."""
    names = ["x", "x" * 1024, "é" * 512, "\x00", "\n", " ", "\U0010ffff", "e\u0301", "é"]
    index.upsert(names, np.zeros((len(names), 4)))
    assert index.list_ids() == names
    assert [item["id"] for item in index.get(names)] == names


@pytest.mark.parametrize(
    "ids", ["abc", b"abc", 7, None, {"a": 1}, {"a"}, {"a": 1}.keys()], ids=repr
)
def test_ids_that_are_no_sequence(stored, ids):
    """One id alone, or no ids, is not a sequence of ids."""
    refuses(stored.get, ids)
    refuses(stored.delete, ids)
    refuses(stored.upsert, ids, [GOOD])


class Colour(enum.Enum):
    RED = "red"


class Always:
    def __eq__(self, other):
        return True

    __hash__ = None


def nested(levels, *, lists=False):
    """An object nested so many levels deep."""
    value = 1
    for _ in range(levels - 1):
        value = [value] if lists else {"x": value}
    return {"x": value}


def loop():
    """An object that contains itself."""
    value = {}
    value["x"] = value
    return value


BAD_METADATA = {
    "list": [1],
    "text": "text",
    "number": 7,
    "bytes": b"{}",
    "false": False,
    "pairs": [("x", 1)],
    "NaN": {"x": math.nan},
    "infinity": {"x": [1, math.inf]},
    "tuple": {"x": (1, 2)},
    "set": {"x": {1}},
    "date": {"x": dt.date(2020, 1, 1)},
    "time": {"x": dt.datetime(2020, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
    "uuid": {"x": uuid.UUID(int=1)},
    "decimal": {"x": decimal.Decimal(1)},
    "bytes inside": {"x": b"a"},
    "object": {"x": object()},
    "enum": {"x": Colour.RED},
    "equal to all": {"x": Always()},
    "number as key": {1: "x"},
    "number as key inside": {"x": [{1: "x"}]},
    "none as key": {None: "x"},
    "bytes as key": {b"x": "x"},
    "tuple as key": {("x",): "x"},
    "array": {"x": np.zeros(2)},
    "numpy number": {"x": np.float32(1)},
    "33 levels": nested(33),
    "33 levels of lists": nested(33, lists=True),
    "200 levels": nested(200),
    "500 levels": nested(500, lists=True),
    "900 levels": nested(900),
    "960 levels": nested(960, lists=True),
    "100,000 levels": nested(100_000, lists=True),
    "a loop": loop(),
    "1 MiB and 1 byte": {"x": "y" * (1024 * 1024 - 7)},
    "1 MiB and 1 byte escaped": {"x": "\x01" * 200_000},
    "lone surrogate": {"x": "\ud800"},
    "lone surrogate as key": {"\ud800": "x"},
    "huge integer": {"x": 10**5000},
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata(stored, case):
    """Metadata that JSON does not hold exactly is refused wherever it stands in a batch."""
    bad = BAD_METADATA[case]
    refuses(stored.upsert, ["a", "x"], [GOOD] * 2, [bad, {"n": 2}], item=0)
    refuses(stored.upsert, ["a", "x"], [GOOD] * 2, [{"n": 2}, bad], item=1)
    refuses(stored.upsert, [{"id": "a", "vector": GOOD, "metadata": bad}], item=0)


def test_every_depth_of_metadata(stored):
    """However deep metadata is nested, it is refused, with the same error."""
    for levels in (*range(33, 1200, 7), 5_000, 20_000):
        refuses(stored.upsert, ["a"], [GOOD], [nested(levels)], item=0)


def test_metadata_at_its_limits(index):
    """Metadata may have 1 MiB, 32 levels, and all that JSON has."""
    largest = {"x": "y" * (1024 * 1024 - 8)}
    values = {
        "": [
            None,
            True,
            False,
            0,
            -1,
            2**63 - 1,
            2**64 - 1,
            -(2**63),
            10**400,
            1.5,
            -0.0,
            1e300,
            5e-324,
        ],
        "x\x00y": {"": {}, "z": []},
        "é\U0001f600": '\u2028\x7f\\"/',
    }
    given = [largest, nested(32), nested(32, lists=True), values, {}, None]
    names = [str(number) for number in range(len(given))]
    index.upsert(names, np.zeros((len(given), 4)), given)
    assert [item["metadata"] for item in index.get(names)] == given


BAD_CONTENTS = {
    "number": 7,
    "list": ["text"],
    "dict": {"x": 1},
    "true": True,
    "lone surrogate": "\ud800",
    "object": object(),
}


@pytest.mark.parametrize("case", BAD_CONTENTS)
def test_bad_contents(stored, case):
    """Contents are text or bytes."""
    bad = BAD_CONTENTS[case]
    refuses(stored.upsert, ["a", "x"], [GOOD] * 2, None, [bad, "good"], item=0)
    refuses(stored.upsert, ["a", "x"], [GOOD] * 2, None, ["good", bad], item=1)
    refuses(stored.upsert, [{"id": "a", "vector": GOOD, "contents": bad}], item=0)


def test_contents_that_are_too_long(stored):
    """Contents of more than 64 MiB are refused, as bytes and as text."""
    refuses(stored.upsert, ["x"], [GOOD], None, [bytes((64 << 20) + 1)], item=0)
    refuses(stored.upsert, ["x"], [GOOD], None, ["é" * ((32 << 20) + 1)], item=0)


BAD_BATCHES = {
    "unknown field": [{"id": "x", "vector": GOOD, "text": "typo"}],
    "no id": [{"vector": GOOD}],
    "no vector": [{"id": "x"}],
    "vector is none": [{"id": "x", "vector": None}],
    "not dicts": ["x"],
    "pairs": [("x", GOOD)],
    "a dict": {"id": "x", "vector": GOOD},
    "text": "abc",
    "bytes": b"abc",
    "number": 7,
    "none": None,
    "good, then bad": [{"id": "a", "vector": GOOD}, {"id": "x", "vector": GOOD, "Metadata": {}}],
    "another dimension": [{"id": "a", "vector": GOOD}, {"id": "x", "vector": [1.0]}],
    "all of another dimension": [{"id": "a", "vector": [1.0]}, {"id": "x", "vector": [1.0]}],
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batches(stored, case):
    """A batch is a list of dicts with known fields, or it is refused whole."""
    refuses(stored.upsert, BAD_BATCHES[case])


def test_mismatched_lengths(stored):
    """Parallel sequences of different lengths are refused."""
    two = [GOOD] * 2
    refuses(stored.upsert, ["x"], two)
    refuses(stored.upsert, ["x", "y", "z"], two)
    refuses(stored.upsert, ["x", "y"], two, [{}])
    refuses(stored.upsert, ["x", "y"], two, [{}] * 3)
    refuses(stored.upsert, ["x", "y"], two, None, ["text"])
    refuses(stored.upsert, ["x", "y"], two, None, ["text"] * 3)
    refuses(stored.upsert, ["x", "y"], two, {"n": 1})
    refuses(stored.upsert, ["x", "y"], two, None, "ab")
    refuses(stored.upsert, [{"id": "x", "vector": GOOD}], None, [{}])


def test_the_last_of_equal_ids_counts(index):
    """Of equal ids in one batch the last one is written, all of it, and the first is not."""
    vectors = np.arange(16).reshape(4, 4)
    index.upsert(["x", "y", "x", "x"], vectors, [{"n": 0}, {"n": 1}, {"n": 2}, None], list("abcd"))
    assert len(index) == 2
    assert sorted(index.list_ids()) == ["x", "y"]
    [item] = index.get(["x"])
    assert item["metadata"] is None
    assert item["contents"] == "d"
    assert item["vector"].tolist() == [12, 13, 14, 15]


@pytest.mark.parametrize(
    "include", ["distance", "", ["distances"], ["id"], [1], [None], 7, None, [["vector"]], b"x"]
)
def test_bad_include(stored, include):
    """`include` is a list of known names."""
    refuses(stored.query, GOOD, include=include)
    refuses(stored.get, ["a"], include=include)


def test_get_has_no_distance(stored):
    """`get` has nothing that a distance could be measured from."""
    refuses(stored.get, ["a"], include=["distance"])


def test_what_is_not_there_yet(shared, stored):
    """Filters and key managers are refused, not ignored."""
    with pytest.raises((NotImplementedError, CyborgError)):
        stored.query(GOOD, filters={"$no such operator": 1})
    with pytest.raises((NotImplementedError, CyborgError)):
        shared.create_index("other", index_key=KEY, kms_name="no such slot")
    assert shared.list_indexes() == ["cosine", "euclidean"]


@pytest.mark.parametrize("dimension", [0, -1, 1.0, True, "4", 16_385, 10**30, [4]])
def test_bad_dimension(shared, dimension):
    """A dimension is a whole number from 1 to 16,384."""
    refuses(shared.create_index, "other", index_key=KEY, dimension=dimension)
    assert shared.list_indexes() == ["cosine", "euclidean"]


@pytest.mark.parametrize("metric", ["l2", "Cosine", "", None, 1, ["cosine"]])
def test_bad_metric(shared, metric):
    """A metric is one of four names."""
    refuses(shared.create_index, "other", index_key=KEY, metric=metric)
    assert shared.list_indexes() == ["cosine", "euclidean"]


@pytest.mark.parametrize("timeout", [-1, math.nan, "1", None, [1]])
def test_bad_lock_timeout(shared, stored, timeout):
    """A time to wait is a number of seconds that is not negative."""
    refuses(shared.create_index, "other", index_key=KEY, lock_timeout=timeout)
    refuses(shared.load_index, "euclidean", index_key=KEY, lock_timeout=timeout)
    refuses(shared.delete_index, "euclidean", index_key=KEY, lock_timeout=timeout)


@pytest.mark.parametrize("sequence", [1.0, "1", True, [1], b"1"])
def test_bad_min_sequence(shared, stored, sequence):
    """A sequence to remember is a whole number."""
    refuses(shared.load_index, "euclidean", index_key=KEY, min_sequence=sequence)


# --- names ----------------------------------------------------------------------------------

BAD_NAMES = [
    "../x", "a/b", "a\\b", "/etc/passwd", "..", ".", "", "x.", "x ", " ", "...",
    "CON", "con", "com1.txt", "COM9", "LPT¹", "nul.", "aux.a.b", "PRN ", "conin$", "NUL .txt",
    "a\x00b", "a\nb", "\x7f", "\x85", "\ud800", "x" * 300, "é" * 101, "%" * 67, "x" * 201,
    None, 7, b"x", ["x"], True,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:20].replace("/", "|"))
def test_bad_names(folder, client, name):
    """A name that some file system would refuse, or take for another place, is refused."""
    refuses(client.create_index, name, index_key=KEY)
    refuses(client.load_index, name, index_key=KEY)
    refuses(client.describe_index, name)
    refuses(client.delete_index, name, index_key=KEY)
    assert client.list_indexes() == []
    assert set(os.listdir(folder)) <= {".lock"}
    assert os.listdir(folder.parent) == [folder.name]


GOOD_NAMES = [
    "a", "notes", "Notes 2024", ".hidden", "a.b", "%41", "a%", 'q"<>:|?*', "x" * 200, "é" * 100,
    "ノート", "عربى", "📚", "console", "com10", "-rf", "~", "$HOME", "notes.cyb", "a;b'c", "%2E%2E",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES, ids=lambda name: repr(name)[:20])
def test_good_names(client, name):
    """A name in any script, with any other character, is listed as it was given."""
    client.create_index(name, index_key=KEY).close()
    assert client.list_indexes() == [name]
    with client.load_index(name, index_key=KEY) as index:
        assert index.name == name
    client.delete_index(name, index_key=KEY)
    assert client.list_indexes() == []


def test_names_that_differ_only_by_case_or_form(client):
    """Two spellings that some file systems take for one are one name."""
    pairs = [("Notes", "nOTES"), ("Straße", "STRASSE"), ("é", "e\u0301"), ("ß", "SS")]
    for first, second in pairs:
        client.create_index(first, index_key=KEY).close()
        with pytest.raises(IndexExistsError) as caught:
            client.create_index(second, index_key=KEY)
        assert isinstance(caught.value, FileExistsError)
        client.load_index(second, index_key=KEY).close()
        client.delete_index(second, index_key=KEY)


def test_index_that_is_not_there(client):
    """An absent index is an IndexNotFoundError, which is a LookupError."""
    for call in (client.load_index, client.delete_index):
        with pytest.raises(IndexNotFoundError) as caught:
            call("absent", index_key=KEY)
        assert isinstance(caught.value, LookupError)
    with pytest.raises(IndexNotFoundError):
        client.describe_index("absent")


# --- folders and files ----------------------------------------------------------------------


def test_client_path_that_is_no_folder(tmp_path):
    """A file in the place of the folder, or above it, is refused."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        refuses(Client, path)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("path", [7, None, ["x"], "a\x00b"], ids=repr)
def test_client_path_that_is_none(path):
    """A path that the system cannot take is a ValueError or a TypeError, before anything else."""
    with pytest.raises((ValueError, TypeError)):
        Client(path)


def foreign_files():
    """What else may lie under the name of an index."""
    header = struct.pack("=II", 0xBEEFC0DE, 1)
    return {
        "empty": b"",
        "one byte": b"x",
        "text": b"Dear diary, this is not an index.\n" * 1000,
        "random": os.urandom(20_000),
        "zeros": bytes(100_000),
        "half an LMDB meta page": bytes(16) + header,
        "LMDB's magic and nonsense": bytes(16) + header + os.urandom(9000),
        "sqlite": b"SQLite format 3\x00" + bytes(4080),
    }


@pytest.mark.parametrize("case", sorted(foreign_files()))
def test_files_that_are_not_ours(folder, client, case):
    """A file that is not an index is a FormatError, and is left as it is."""
    data = foreign_files()[case]
    path = folder / "notes.cyb"
    path.write_bytes(data)
    for call in (
        lambda: client.load_index("notes", index_key=KEY),
        lambda: client.describe_index("notes"),
        lambda: client.delete_index("notes", index_key=KEY),
    ):
        with pytest.raises(FormatError):
            call()
    with pytest.raises(IndexExistsError):
        client.create_index("notes", index_key=KEY)
    assert path.read_bytes() == data


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "loop"])
def test_things_that_are_not_files(folder, client, kind, tmp_path):
    """What is not a regular file is no index: a typed error, or not found."""
    path = folder / "notes.cyb"
    make_index(tmp_path / "elsewhere", "other", KEY)
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere" / "other.cyb")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.symlink_to(path)
    for call in (
        lambda: client.load_index("notes", index_key=KEY),
        lambda: client.describe_index("notes"),
        lambda: client.delete_index("notes", index_key=KEY),
    ):
        with pytest.raises((FormatError, IndexNotFoundError)):
            call()


FIFO = """
import os, signal, sys
from cyborg_embedded import Client, FormatError, IndexNotFoundError
signal.alarm(10)
os.mkfifo(os.path.join(sys.argv[1], "notes.cyb"))
try:
    Client(sys.argv[1]).load_index("notes", index_key=bytes(32))
except (FormatError, IndexNotFoundError):
    print("refused")
"""


def test_a_pipe_is_not_waited_for(tmp_path):
    """A named pipe under the name of an index is refused, and does not stop the process."""
    code, out, err = run_python(FIFO, tmp_path)
    assert (code, out, err) == (0, "refused\n", "")


@pytest.mark.parametrize("version", [0, 1], ids=["format 1", "format 2"])
def test_lmdb_files_of_other_programs(folder, client, version):
    """An LMDB file without our header, or of LMDB's other format, is a FormatError."""
    path = folder / "notes.cyb"
    environment = lmdb.Environment(str(path), subdir=False, lib_version=version, map_size=1 << 20)
    with environment, environment.begin(write=True) as txn:
        for number in range(100):
            txn.put(b"key %d" % number, b"value" * number)
        txn.put(HEADER + b"\x01", b"CYBORG-EMBEDDED\0")
    with pytest.raises(FormatError):
        client.load_index("notes", index_key=KEY)
    with pytest.raises(FormatError):
        client.describe_index("notes")


def test_newer_format_version(folder, client):
    """A file of a version that is not known yet is an UnsupportedVersionError, for every call."""
    make_index(folder, "notes", KEY)
    path = folder / "notes.cyb"
    header = read_pages(path)[HEADER]
    for changed in (
        header[:16] + b"\x00\x02" + header[18:],
        header[:16] + b"\xff\xff" + header[18:] + b"more fields",
        header[:16] + b"\x00\x02",
    ):
        write_pages(path, {HEADER: changed})
        with pytest.raises(UnsupportedVersionError) as caught:
            client.load_index("notes", index_key=KEY)
        assert isinstance(caught.value, FormatError)
        with pytest.raises(UnsupportedVersionError):
            client.describe_index("notes")
        with pytest.raises(UnsupportedVersionError):
            client.delete_index("notes", index_key=KEY)
    write_pages(path, {HEADER: header})
    client.load_index("notes", index_key=KEY).close()


CUTTER = """
import os, shutil, sys
from support import KEY
from cyborg_embedded import Client, FormatError, IntegrityError
whole, folder = sys.argv[1:]
size = os.path.getsize(whole)
cuts = {0, 1, 15, 16, 100, 151, 152, 4095, 4096, 4097, 8191, 8192, 8193, size - 1, size - 4096}
cuts |= set(range(4096, size, max(size // 60 // 512, 1) * 512))
client = Client(folder)
path = os.path.join(folder, "notes.cyb")
for cut in sorted(cuts):
    shutil.copyfile(whole, path)
    os.truncate(path, cut)
    try:
        with client.load_index("notes", index_key=KEY) as index:
            ids = index.list_ids()
            answers = len(index.get(ids)), len(index.query([0.0] * 8, top_k=1000))
            outcome = "whole" if answers == (150, 150) else "wrong"
    except (FormatError, IntegrityError) as error:
        outcome = type(error).__name__
    for suffix in ("", "-lock", "-writer"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    print(cut, outcome, flush=True)
print("end")
"""


def test_truncated_files(tmp_path, folder):
    """A file cut anywhere is a typed error, or still whole, and never kills the process."""
    make_index(tmp_path, "notes", KEY)
    with Client(tmp_path) as client, client.load_index("notes", index_key=KEY) as index:
        index.upsert([f"i{n}" for n in range(200)], np.ones((200, 8)), None, ["x" * 700] * 200)
        index.delete([f"i{n}" for n in range(50)])
        index.optimize()
    code, out, err = run_python(CUTTER, tmp_path / "notes.cyb", folder)
    assert code == 0, (out[-200:], err)
    *lines, end = out.splitlines()
    assert end == "end"
    outcomes = {line.split()[1] for line in lines}
    assert "wrong" not in outcomes
    assert "FormatError" in outcomes


UNPRIVILEGED = """
import os, sys
from support import KEY
from cyborg_embedded import Client, CyborgError
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
def attempt(name, call):
    try:
        call()
        print(name, "done")
    except CyborgError as error:
        print(name, type(error).__name__)
folder = sys.argv[1]
client = Client(folder)
attempt("create", lambda: client.create_index("new", index_key=KEY))
attempt("delete", lambda: client.delete_index("notes", index_key=KEY))
attempt("load", lambda: client.load_index("notes", index_key=KEY).upsert(["x"], [[1.0] * 8]))
attempt("describe", lambda: client.describe_index("notes"))
attempt("client", lambda: Client(os.path.join(folder, "below")))
print(*client.list_indexes())
"""


@pytest.fixture
def public_folder():
    """A folder that every user of the machine can reach."""
    path = tempfile.mkdtemp()
    os.chmod(path, 0o755)  # noqa: S103 - or the other user could not enter
    yield path
    os.chmod(path, 0o700)
    shutil.rmtree(path)


def test_folder_without_permission(public_folder):
    """Where the process may not write, or not even read, each call is a ReadOnlyError."""
    make_index(public_folder, "notes", KEY)
    os.chmod(os.path.join(public_folder, "notes.cyb"), 0o444)
    os.chmod(public_folder, 0o555)  # noqa: S103 - likewise
    code, out, err = run_python(UNPRIVILEGED, public_folder)
    assert code == 0, err
    lines = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    assert lines.pop("describe") in {"ReadOnlyError", "done"}
    assert lines == dict.fromkeys(("create", "delete", "load", "client"), "ReadOnlyError")
    assert out.splitlines()[-1] == "notes"
    with Client(public_folder) as client:
        os.chmod(public_folder, 0o700)
        with client.load_index("notes", index_key=KEY) as index:
            assert index.sequence == 1


# --- handles --------------------------------------------------------------------------------

CALLS = {
    "upsert": lambda index: index.upsert(["a"], [GOOD]),
    "upsert of nothing": lambda index: index.upsert([]),
    "query": lambda index: index.query(GOOD),
    "query_arrays": lambda index: index.query_arrays(GOOD),
    "warm": lambda index: index.warm(),
    "get": lambda index: index.get(["a"]),
    "get of nothing": lambda index: index.get([]),
    "delete": lambda index: index.delete(["a"]),
    "delete of nothing": lambda index: index.delete([]),
    "list_ids": lambda index: index.list_ids(),
    "optimize": lambda index: index.optimize(),
    "describe": lambda index: index.describe(),
    "len": len,
    "sequence": lambda index: index.sequence,
    "commit_id": lambda index: index.commit_id,
    "dimension": lambda index: index.dimension,
    "metric": lambda index: index.metric,
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_after_close(client, name):
    """After `close`, every call is a ClosedError; closing again, name and repr are not."""
    index = client.create_index("notes", index_key=KEY, dimension=4)
    index.upsert(["a"], [GOOD])
    index.close()
    with pytest.raises(ClosedError) as caught:
        CALLS[name](index)
    assert isinstance(caught.value, ValueError)
    index.close()
    assert index.name == "notes"
    assert "closed" in repr(index)
    with client.load_index("notes", index_key=KEY) as again:
        assert (again.sequence, again.list_ids()) == (2, ["a"])


def test_every_call_of_a_closed_client(tmp_path):
    """After `close`, every call of a client is a ClosedError; its indexes stay open."""
    client = Client(tmp_path)
    index = client.create_index("notes", index_key=KEY)
    client.close()
    client.close()
    for call in (
        lambda: client.create_index("other", index_key=KEY),
        lambda: client.load_index("notes", index_key=KEY),
        lambda: client.delete_index("notes", index_key=KEY),
        lambda: client.describe_index("notes"),
        client.list_indexes,
    ):
        with pytest.raises(ClosedError):
            call()
    index.upsert(["a"], [GOOD])
    index.close()


def test_read_only_handle(shared, stored):
    """A handle opened to read refuses every write, and answers everything else."""
    with shared.load_index("euclidean", index_key=KEY, read_only=True) as index:
        for write in (
            lambda: index.upsert(["a"], [GOOD]),
            lambda: index.upsert([{"id": "new", "vector": GOOD}]),
            lambda: index.delete(["a"]),
            index.optimize,
        ):
            with pytest.raises(ReadOnlyError) as caught:
                write()
            assert isinstance(caught.value, PermissionError)
        assert fingerprint(index) == fingerprint(stored)


def test_no_pickle_and_no_copy(stored):
    """A handle holds keys, so it cannot be pickled or copied."""
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(stored)


def test_damaged_items_do_not_stop_bad_input_from_being_told(folder, client):
    """Bad input is told before anything is read that may be damaged."""
    make_index(folder, "notes", KEY, dimension=4)
    with client.load_index("notes", index_key=KEY) as index:
        index.upsert(["a"], [GOOD])
    path = folder / "notes.cyb"
    pages = read_pages(path)
    items = [key for key in pages if key[0] in {3, 4, 7}]
    write_pages(path, dict.fromkeys(items))
    with client.load_index("notes", index_key=KEY) as index:
        refuses(index.upsert, ["a"], [[math.nan] * 4])
        refuses(index.query, GOOD, top_k=0)
        refuses(index.get, [""])
        with pytest.raises(IntegrityError):
            index.get(["a"])
