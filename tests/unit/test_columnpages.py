"""Saved columns: round trips, and refusing every string that contradicts itself."""

import dataclasses

import msgspec
import numpy as np
import pytest
from column_harness import ODD, columns_of, items, told, wanted
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_harness import PagedStore

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.column import Column
from cyborg_embedded.columnpages import Columns, decode, encode, load_columns, save_columns
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.items import ROWS_PER_PAGE
from cyborg_embedded.masks import masks
from cyborg_embedded.padding import padded_length
from cyborg_embedded.predicates import AllOf, Compares, Element, Equals, Exists, HasText, Size


def whole(described, *, complete=True):
    """The columns of items, with the tags of as many pages as these take."""
    pages = -(-len(described) // ROWS_PER_PAGE)
    tags = bytes(range(TAG_BYTES)) * pages
    return Columns(tags, len(described), columns_of(described), complete)


def decoded(data):
    """Columns of a byte string."""
    return decode(np.frombuffer(data, np.uint8))


def use(columns):
    """Ask columns whatever can be asked: each answer is a mask of as many rows as there are."""
    for path in columns.by_path:
        for node in (
            Exists(path),
            Equals(path, (1, "a", None, True, [])),
            Compares(path, "$gte", "p"),
            Compares(path, "$lt", 5),
            HasText(path, "inside", "a"),
            Size(path, 2),
            Element(path, AllOf((Compares(None, "$gt", 0),)), fields=False),
        ):
            found = masks(node, columns.by_path, columns.rows, complete=columns.complete)
            assert len(found.sure) == len(found.maybe) == columns.rows


DESCRIBED = [
    {"a": value, "b": [n, "x", [], {}], "c": {"d": n % 3}, **({"rare": n} if n == 50 else {})}
    for n, value in enumerate(ODD * 2)
]
DATA = encode(whole(DESCRIBED))


@given(st.lists(items, max_size=40), st.booleans())
@settings(max_examples=25)
def test_round_trip(described, complete):
    """Columns come back from their string as they were, which is as long as padding makes it."""
    columns = whole(described, complete=complete)
    data = encode(columns)
    assert len(data) == padded_length(len(data))
    again = decoded(data)
    assert told(again.by_path) == wanted(described)
    assert (again.tags, again.rows, again.complete) == (columns.tags, columns.rows, complete)
    for path, column in columns.by_path.items():
        for field in dataclasses.fields(Column)[:-1]:
            one, other = getattr(column, field.name), getattr(again.by_path[path], field.name)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
            assert type(one) is type(other)


@pytest.mark.parametrize("page_size", [256, 1024, 32_752])
def test_saved_and_loaded(tmp_path, page_size):
    """What is saved is loaded, over pages of any size, and replaces what was saved before."""
    with PagedStore(tmp_path / "x.cyb", page_size=page_size) as store:
        with store.read() as view:
            assert load_columns(view) is None
        for described in (DESCRIBED, DESCRIBED[:3], [{"a": 1}] * 9, DESCRIBED[5:]):
            columns = whole(described)

            def work(view, columns=columns):
                rows = columns.rows
                view.root = msgspec.structs.replace(view.root, rows=rows, live=rows)
                save_columns(view, columns)

            store.write(work)
            with store.read() as view:
                assert told(load_columns(view).by_path) == wanted(described)


def test_columns_of_rows_that_are_not_there(tmp_path):
    """Columns of more rows than the index has are IntegrityError."""
    with PagedStore(tmp_path / "x.cyb") as store:

        def work(view):
            view.root = msgspec.structs.replace(view.root, rows=5, live=5)
            save_columns(view, whole([{"a": 1}] * 6))

        store.write(work)
        with store.read() as view, pytest.raises(IntegrityError):
            load_columns(view)


def test_a_value_more_or_less_does_not_show():
    """The length of the string is the same for many numbers of values."""
    many = [[{"a": str(n)} for n in range(count)] for count in range(900, 920)]
    assert len({len(encode(whole(described))) for described in many}) <= 2


def refused(data):
    """See that a string is IntegrityError, or columns that can be used."""
    try:
        columns = decoded(data)
    except IntegrityError:
        return True
    use(columns)
    return False


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_random_strings(data):
    """Bytes that are no columns are IntegrityError, and nothing else."""
    refused(data)
    refused(DATA[:4] + data)


@given(
    st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 255)), min_size=1, max_size=3)
)
@settings(max_examples=100)
def test_flipped_strings(changes):
    """A string with changed bytes is IntegrityError, or columns that can be used, and nothing else."""
    data = bytearray(DATA)
    for at, bits in changes:
        data[at] ^= bits
    refused(bytes(data))


@given(st.integers(0, len(DATA.rstrip(b"\0")) - 8))
@settings(max_examples=25)
def test_cut_strings(length):
    """A string of which a part is missing is IntegrityError."""
    assert refused(DATA[:length])


def column(**changes):
    """A sound sparse column of the rows 0, 2, 2 of 4, but for some changes."""
    sound = {
        "codes": np.array([6, 7, 8], np.uint8),
        "rows": u32(0, 2, 2),
        "inside": np.array([False, True, True]),
        "list_rows": u32(2),
        "list_lengths": u32(2),
        "numbers": [1, 2.5],
        "texts": ["a"],
    }
    return Column(**(sound | changes))


def dense(**changes):
    """A sound dense column of 4 rows, but for some changes."""
    sound = {"rows": None, "inside": None, "list_rows": u32(), "list_lengths": u32()}
    return column(**(sound | {"codes": np.array([0, 6, 7, 8], np.uint8)} | changes))


def string_of(made):
    """The string of one column."""
    return encode(Columns(bytes(TAG_BYTES), 4, {"a": made}, complete=True))


def u32(*numbers):
    return np.array(numbers, np.uint32)


CONTRADICTIONS = {
    "a code beyond the values": column(codes=np.array([6, 7, 9], np.uint8)),
    "a dense code beyond the values": dense(codes=np.array([0, 0, 0, 9], np.uint8)),
    "no value in a sparse column": column(codes=np.array([6, 0, 8], np.uint8)),
    "rows that descend": column(rows=u32(2, 0, 2)),
    "a row too many": column(rows=u32(0, 2, 4)),
    "arrays that descend": column(list_rows=u32(2, 1), list_lengths=u32(1, 1)),
    "an array of a row too many": column(list_rows=u32(4)),
    "more codes than rows": dense(codes=np.array([0, 6, 7, 8, 6], np.uint8)),
    "inside without rows": dense(inside=np.zeros(4, bool)),
    "numbers that descend": column(numbers=[2.5, 1]),
    "numbers twice": column(numbers=[1, 1.0]),
    "texts that descend": column(texts=["b", "a"], numbers=[1]),
    "texts twice": column(texts=["a", "a"], numbers=[1]),
    "texts that are numbers": column(texts=[3]),
    "numbers that are texts": column(numbers=["1", "2"]),
    "numbers that are truth values": column(numbers=[False, True]),
    "numbers that are null": column(numbers=[None, 1]),
}


def test_the_examples_are_sound():
    """What the contradictions are made of is none."""
    for sound in (column(), dense()):
        assert told(decoded(string_of(sound)).by_path)["a"]


@pytest.mark.parametrize("made", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions(made):
    """A column that is not sound is IntegrityError."""
    with pytest.raises(IntegrityError):
        decoded(string_of(made))


def rewritten(change):
    """The sound string with a directory that `change` has changed."""
    length = int.from_bytes(DATA[:4], "little")
    directory = msgspec.msgpack.decode(DATA[4 : 4 + length])
    change(directory)
    encoded = msgspec.msgpack.encode(directory)
    return len(encoded).to_bytes(4, "little") + encoded + DATA[4 + length :]


DIRECTORIES = {
    "a path twice": lambda d: d["columns"][1].update(path=d["columns"][0]["path"]),
    "a column less": lambda d: d["columns"].pop(),
    "other rows": lambda d: d.update(rows=d["rows"] + ROWS_PER_PAGE),
    "negative rows": lambda d: d.update(rows=-1),
    "too many rows": lambda d: d.update(rows=(1 << 31) + 1),
    "more codes than bytes": lambda d: d["columns"][0].update(codes=1 << 47),
    "no path": lambda d: d["columns"][0].pop("path"),
    "more than is known": lambda d: d.update(more=1),
    "a number for a word": lambda d: d.update(complete=1),
}


@pytest.mark.parametrize("change", DIRECTORIES.values(), ids=DIRECTORIES.keys())
def test_directories(change):
    """A directory that is not that of the string is IntegrityError."""
    assert decoded(rewritten(lambda _: None)).rows == len(DESCRIBED)
    with pytest.raises(IntegrityError):
        decoded(rewritten(change))


def test_what_follows_is_zeros():
    """Behind the last column there is nothing but zeros."""
    sound = string_of(dense())
    assert sound[-1] == 0
    with pytest.raises(IntegrityError):
        decoded(sound[:-1] + b"\1")
