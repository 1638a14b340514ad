"""Item pages: round trips, padding, long parts on pages of their own, and refusing nonsense."""

import contextlib
import os
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit_harness import PagedStore

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.items import (
    ROWS_PER_PAGE,
    ItemPage,
    PageBuilder,
    Payload,
    drop_overflow,
    write_items,
)
from cyborg_embedded.model import PageKind
from cyborg_embedded.padding import padded_length

INLINE = 512


class Recorder:
    """Stands in for a view: keeps pages that are sealed on their own, by their tag."""

    def __init__(self):
        self.bound = {}

    def seal_bound(self, kind, number, plaintext):
        tag = os.urandom(16)
        self.bound[kind, number, tag] = bytes(plaintext)
        return tag

    def open_bound(self, kind, number, tag):
        try:
            return self.bound[kind, number, tag]
        except KeyError:
            message = "not there"
            raise IntegrityError(message, kind=kind.name, number=number) from None

    def drop_bound(self, kind, number):
        self.bound = {
            place: data for place, data in self.bound.items() if place[:2] != (kind, number)
        }


def page_of(payloads, view=None, number=0):
    """The plaintext of a page with these payloads."""
    builder, view = PageBuilder(), view or Recorder()
    for slot, payload in enumerate(payloads):
        builder.add(view, number * ROWS_PER_PAGE + slot, [payload])
    return builder.plaintext()


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        (0, 256),
        (1, 256),
        (255, 256),
        (256, 256),
        (257, 272),
        (272, 272),
        (273, 288),
        (511, 512),
        (512, 512),
        (513, 544),
        (1000, 1024),
        (1025, 1088),
        (65_535, 65_536),
        (65_537, 67_584),
        (1 << 20, 1 << 20),
        ((1 << 20) + 1, (1 << 20) + (1 << 15)),
    ],
)
def test_padded_lengths(length, padded):
    """Lengths are rounded up as PADMÉ does, to at least 256."""
    assert padded_length(length) == padded


@given(st.integers(0, 1 << 27))
def test_padding_costs_little_and_hides_much(length):
    """Padding adds at most 12 %, is stable, and leaves few bits of a length to see."""
    padded = padded_length(length)
    assert padded >= max(length, 256)
    assert padded_length(padded) == padded
    if length >= 256:
        assert padded - length <= 0.12 * length
        exponent = padded.bit_length() - 1
        assert padded % (1 << (exponent - exponent.bit_length())) == 0


payloads = st.builds(
    lambda metadata, contents, is_text: Payload(
        metadata, contents, is_text and contents is not None
    ),
    st.binary(max_size=40)
    | st.sampled_from([bytes(n) for n in (INLINE - 1, INLINE, INLINE + 1, 5000)]),
    st.none()
    | st.binary(max_size=40)
    | st.sampled_from([b"x" * n for n in (INLINE - 1, INLINE, INLINE + 1, 70_000)]),
    st.booleans(),
)


@given(st.lists(payloads, min_size=1, max_size=ROWS_PER_PAGE), st.integers(0, 1 << 26))
@settings(max_examples=30)
def test_round_trip(items, number):
    """Every payload of a page comes back as it was, one by one, whole or in part."""
    view = Recorder()
    data = page_of(items, view, number)
    assert len(data) == padded_length(len(data))
    page = ItemPage(data, number)
    assert page.count == len(items)
    for slot, payload in enumerate(items):
        assert page.payload(view, slot) == payload
        bare = page.payload(view, slot, metadata=False, contents=False)
        assert (bare.metadata, bare.contents) == (b"", None)


@pytest.mark.parametrize("length", [INLINE, INLINE + 1])
def test_what_is_long_stands_apart(length):
    """Parts of more than 512 bytes, and only those, get a padded page of their own."""
    view = Recorder()
    page_of([Payload(bytes(length), b"x" * length)], view)
    apart = {place[:2]: len(data) for place, data in view.bound.items()}
    if length > INLINE:
        padded = padded_length(length)
        assert apart == {(PageKind.METADATA, 0): padded, (PageKind.CONTENTS, 0): padded}
    else:
        assert apart == {}


def test_what_is_not_asked_for_is_not_opened():
    """A payload without metadata or contents opens none of their pages."""
    view = Recorder()
    page = ItemPage(page_of([Payload(bytes(600), bytes(600))], view), 0)
    view.bound.clear()
    assert page.payload(view, 0, metadata=False, contents=False).contents is None
    for part in ("metadata", "contents"):
        with pytest.raises(IntegrityError):
            page.payload(view, 0, **{"metadata": False, "contents": False, part: True})


def test_part_shorter_than_its_record_says():
    """A long part whose page is shorter than its record says is IntegrityError."""
    view = Recorder()
    page = ItemPage(page_of([Payload(b"", b"x" * 5000)], view), 0)
    (place,) = view.bound
    view.bound[place] = bytes(4999)
    with pytest.raises(IntegrityError):
        page.payload(view, 0)


def write_and_read(store, rows, payloads):
    store.write(lambda view: write_items(view, rows, payloads))


def stored(store, rows):
    with store.read() as view:
        pages = [
            ItemPage(view.open(PageKind.ITEMS, number), number)
            for number in range(view.snapshot.pages(PageKind.ITEMS))
        ]
        assert sum(page.count for page in pages) == rows
        return [
            pages[row // ROWS_PER_PAGE].payload(view, row % ROWS_PER_PAGE) for row in range(rows)
        ]


def payload(row, version=0):
    size = [0, 10, INLINE, INLINE + 1, 3000][(row + version) % 5]
    text = b"%d-%d" % (row, version)
    return Payload(text.ljust(size, b"m"), text.ljust(size, b"c"), is_text=True)


@pytest.mark.parametrize("first", [0, 1, ROWS_PER_PAGE - 1, ROWS_PER_PAGE, ROWS_PER_PAGE + 1])
@pytest.mark.parametrize("more", [1, ROWS_PER_PAGE - 1, ROWS_PER_PAGE, ROWS_PER_PAGE + 1])
def test_appending_around_page_edges(tmp_path, first, more):
    """Rows appended in two commits, around the edges of pages, are all there."""
    with PagedStore(tmp_path / "x.cyb") as store:
        if first:
            write_and_read(store, 0, {row: payload(row) for row in range(first)})
        write_and_read(store, first, {row: payload(row) for row in range(first, first + more)})
        total = first + more
        assert stored(store, total) == [payload(row) for row in range(total)]


def test_replacing(tmp_path):
    """Replaced items change, others stay, new ones follow, and no page of an old part is left."""
    with PagedStore(tmp_path / "x.cyb") as store:
        rows = 2 * ROWS_PER_PAGE + 5
        expected = {row: payload(row) for row in range(rows)}
        write_and_read(store, 0, expected)
        for version in range(1, 6):
            changes = {row: payload(row, version) for row in range(version, rows, 7)}
            changes |= {rows + new: payload(rows + new) for new in range(version)}
            write_and_read(store, rows, changes)
            rows += version
            expected |= changes
            assert stored(store, rows) == [expected[row] for row in range(rows)]
        apart = sum(
            (len(item.metadata) > INLINE) + (len(item.contents) > INLINE)
            for item in expected.values()
        )
        assert bound_pages(store) == apart


def bound_pages(store):
    with store.read() as view:
        return sum(
            view._txn.get(struct.pack(">BQ", kind, row)) is not None
            for kind in (PageKind.METADATA, PageKind.CONTENTS)
            for row in range(500)
        )


def test_dropping_overflow(tmp_path):
    """Dropping what stands apart of a row removes its pages and nobody else's."""
    with PagedStore(tmp_path / "x.cyb") as store:
        write_and_read(store, 0, {row: Payload(bytes(600), bytes(700)) for row in range(3)})
        assert bound_pages(store) == 6

        def drop(view):
            page = ItemPage(view.open(PageKind.ITEMS, 0), 0)
            drop_overflow(view, 1, page.record(1))
            view.seal(PageKind.ITEMS, 0, view.open(PageKind.ITEMS, 0))

        store.write(drop)
        assert bound_pages(store) == 4


def use(data):
    """Everything that can be asked of a page; IntegrityError is a fine answer to any of it."""
    try:
        page = ItemPage(data, 3)
    except IntegrityError:
        return
    view = Recorder()
    assert 0 < page.count <= ROWS_PER_PAGE
    for slot in range(page.count + 1):
        with contextlib.suppress(IntegrityError):
            page.record(slot)
        with contextlib.suppress(IntegrityError):
            page.payload(view, slot)
        with contextlib.suppress(IntegrityError):
            drop_overflow(view, slot, page.record(slot))


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x01")
@example(bytes(4))
@example(bytes(256))
@example(struct.pack("<I", 0xFFFFFFFF))
@example(struct.pack("<3I", 1, 12, 12))
@example(struct.pack("<3I", 1, 12, 0xFFFFFFFF))
@example(struct.pack("<3I", 1, 12, 13) + b"\xff" * 20)
def test_random_pages(data):
    """Bytes that are no item page are IntegrityError, whatever is asked, never another error."""
    use(data)


SOUND = page_of([Payload(b'{"a":1}', b"text", is_text=True), Payload(bytes(600), bytes(700))] * 3)


@given(
    st.lists(
        st.tuples(st.integers(0, 4 * 8 + 120), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, len(SOUND)),
)
def test_mutated_pages(changes, length):
    """A page with changed bytes, or cut, never gives another error than IntegrityError."""
    data = bytearray(SOUND)
    for at, change in changes:
        data[at : at + len(change)] = change
    use(bytes(data))
    use(bytes(data[:length]))


def contradicting(flags=2, metadata_length=0, contents_length=0, body=b""):
    record = struct.pack("<BII", flags, metadata_length, contents_length) + body
    return struct.pack("<3I", 1, 12, 12 + len(record)) + record + bytes(64)


CONTRADICTIONS = {
    "record too short": contradicting(contents_length=1),
    "record too long": contradicting(body=b"i"),
    "metadata too long": contradicting(metadata_length=(1 << 20) + 1, body=bytes((1 << 20) + 1)),
    "contents too long": contradicting(flags=10, contents_length=(64 << 20) + 1, body=bytes(16)),
    "tag cut": contradicting(flags=10, contents_length=600, body=bytes(15)),
    "no fixed part": struct.pack("<3I", 1, 12, 20) + bytes(64),
}


@pytest.mark.parametrize("data", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradicting_records(data):
    """A record whose lengths contradict each other, or the limits, is IntegrityError."""
    page = ItemPage(data, 0)
    with pytest.raises(IntegrityError):
        page.payload(Recorder(), 0)


def test_slots_that_are_not_there():
    """Asking for a slot behind the last one is IntegrityError."""
    page = ItemPage(SOUND, 0)
    for ask in (page.record, lambda slot: page.payload(Recorder(), slot)):
        with pytest.raises(IntegrityError):
            ask(6)


@pytest.mark.parametrize("count", [0, ROWS_PER_PAGE + 1, 1 << 31])
def test_counts(count):
    """A page of no records, or of more than a page has, is IntegrityError."""
    with pytest.raises(IntegrityError):
        ItemPage(struct.pack("<I", count) + SOUND[4:], 0)


def test_payloads_never_print():
    """The repr of a payload shows nothing of it."""
    shown = repr(Payload(b"secret", b"secret"))
    assert "secret" not in shown
