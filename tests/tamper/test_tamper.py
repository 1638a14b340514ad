"""Whatever an attacker does to the pages of an index, no answer is wrong.

Every tampering is followed by every question that an index answers. Each answer has to be the one
that the untouched index gives, or an error that this library names.
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from support import (
    KEY,
    TESTS,
    check_items,
    check_query,
    make_index,
    plain,
    python,
    read_pages,
    write_pages,
)

from cyborg_embedded import (
    Client,
    CyborgError,
    FormatError,
    IntegrityError,
    RollbackError,
    UnsupportedVersionError,
    WrongKeyError,
)
from cyborg_embedded.keys import derive_keys
from cyborg_embedded.model import PageKind

DIMENSION = 6
TAG_BYTES = 16
OVERHEAD = 24 + TAG_BYTES
HEADER = b"\x00"
ROOT = b"\x01" + bytes(8)
DERIVED = {PageKind.NAVIGATION, PageKind.GRAPH, PageKind.PROJECTION, PageKind.COLUMNS}
"""The kinds of pages that can be rebuilt from the others."""
NECESSARY = set(PageKind) - DERIVED
"""The kinds of pages of ground state: some answer depends on each page of them."""
TYPED = (IntegrityError, RollbackError, WrongKeyError, FormatError)
ABSENT = ["absent 1", "i5", "zzz"]
QUERIES = np.random.default_rng(5).normal(size=(4, DIMENSION)).astype(np.float32)
EVERYTHING = ("distance", "metadata", "contents", "vector")


class Model:
    """An index beside a dict that says what must be in it."""

    def __init__(self, index):
        self.index = index
        self.items = {}

    def upsert(self, items):
        self.index.upsert(
            [
                {"id": name, "vector": vector, "metadata": metadata, "contents": contents}
                for name, (vector, metadata, contents) in items.items()
            ]
        )
        self.items.update(items)

    def delete(self, names):
        assert self.index.delete(names) == len(names)
        for name in names:
            del self.items[name]


def item(number, rng, *, long=False):
    """One item, with short or long metadata and contents."""
    metadata = {"n": number, "text": "m" * (700 if long else number % 9)} if number % 4 else None
    if number % 8 == 1:
        metadata["tags"] = [{"tag": number}, "odd", number // 8, f"all of item {number}" * 2]
    contents = (f"contents {number} " * (90 if long else 1)) if number % 3 else None
    if number % 5 == 0 and contents:
        contents = contents.encode()
    return rng.normal(size=DIMENSION).astype(np.float32), metadata, contents


def first_commits(model, seed):
    """Rows, deletions, replacements, a graph, and a tail behind it."""
    rng = np.random.default_rng(seed)
    yield model.upsert({f"i{n}": item(n, rng, long=n in {7, 40, 42}) for n in range(64)})
    yield model.delete([f"i{n}" for n in range(5, 64, 9)])
    yield model.upsert({f"i{n}": item(n + 1, rng, long=n == 20) for n in range(20, 24)})
    yield model.index.optimize()


def last_commits(model, seed):
    """What sets a copy of an index apart from another copy of it."""
    rng = np.random.default_rng(seed)
    keep = {f"i{n}": (model.items[f"i{n}"][0], {"kept": seed}, "same vector") for n in (1, 33)}
    yield model.upsert(keep)
    yield model.upsert({f"i{n}": item(n + 2, rng, long=n in {7, 61}) for n in (7, 40, 60, 61, 70)})
    yield model.delete(["i8", "i42"])
    yield model.index.optimize()
    yield model.upsert({f"j{n}": item(n, rng, long=n == 1) for n in range(6)})
    yield model.upsert({"i2": item(2, rng)})


def grow(path, commits, seed, items=None):
    """Make commits, and the pages after each of them, as [(pages, items)]."""
    states = []
    with Client(path.parent) as client, client.load_index("notes", index_key=KEY) as index:
        model = Model(index)
        model.items = dict(items or {})
        steps = commits(model, seed)
        running = True
        while running:
            running = next(steps, steps) is not steps
            if running:
                # A copy is read: LMDB must not open one file twice in a process.
                copy = path.with_suffix(".copy")
                shutil.copyfile(path, copy)
                states.append((read_pages(copy), dict(model.items)))
    return states


def ask(path, **options):
    """Every question, answered through a fresh handle: name to answer, or to the error."""
    try:
        with Client(path.parent) as client:
            index = client.load_index("notes", index_key=KEY, **options)
    except CyborgError as error:
        return dict.fromkeys(QUESTIONS, error)
    with index:
        return ask_handle(index)


def ask_handle(index):
    """Every question, answered through an open handle."""
    answers = {}
    for name, question in QUESTIONS.items():
        try:
            answers[name] = plain(question(index))
        except CyborgError as error:
            answers[name] = error
    return answers


NAMES = [f"i{n}" for n in range(71)] + [f"j{n}" for n in range(6)]
MIDDLE = {"n": {"$gte": 9, "$lt": 44}}
LONG = {"$or": [{"text": {"$regex": "m{600}"}}, {"tags": "odd"}, {"kept": {"$exists": True}}]}
QUESTIONS = {
    "query through the graph": lambda index: index.query(
        QUERIES, top_k=3, include=("distance", "vector")
    ),
    "one query": lambda index: index.query(QUERIES[0], top_k=2, include=("contents", "metadata")),
    "query by a scan": lambda index: index.query(QUERIES[1], top_k=1000, include=EVERYTHING),
    "absent ids": lambda index: index.get(ABSENT),
    "vectors": lambda index: index.get(NAMES, include=["vector"]),
    "metadata": lambda index: index.get(NAMES, include=["metadata"]),
    "contents": lambda index: index.get(NAMES, include=["contents"]),
    "some items": lambda index: index.get(["j1", "i1", "i61"]),
    "query with a filter": lambda index: index.query(
        QUERIES[2], top_k=3, filters=MIDDLE, include=("distance", "metadata")
    ),
    "count": lambda index: index.count(MIDDLE),
    "ids with a filter": lambda index: index.list_ids(filters=LONG),
    "metadata in order": lambda index: index.query_metadata(
        {"tags.tag": {"$gt": 1}}, order_by="n", ascending=False
    ),
    "ids": lambda index: index.list_ids(),
    "length": len,
    "sequence": lambda index: index.sequence,
    "commit": lambda index: index.commit_id,
    "shape": lambda index: (index.dimension, index.metric),
    "rows": lambda index: [index.describe()[name] for name in ("rows", "deleted_rows")],
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An index, all earlier versions of its pages, a diverged copy of it, and a twin."""
    folder = tmp_path_factory.mktemp("tamper")
    path = folder / "ours" / "notes.cyb"
    make_index(path.parent, "notes", KEY, dimension=DIMENSION)
    states = grow(path, first_commits, 1)
    fork = folder / "fork" / "notes.cyb"
    fork.parent.mkdir()
    shutil.copyfile(path, fork)
    older = folder / "older.cyb"
    shutil.copyfile(path, older)
    shared = states[-1][1]
    states += grow(path, last_commits, 2, shared)
    pages, items = states.pop()
    forked, _ = grow(fork, last_commits, 3, shared)[-1]
    twin = folder / "twin" / "notes.cyb"
    make_index(twin.parent, "notes", KEY, dimension=DIMENSION)
    twin_states = grow(twin, first_commits, 1)
    twins, _ = (twin_states + grow(twin, last_commits, 2, twin_states[-1][1]))[-1]
    pristine = folder / "pristine.cyb"
    shutil.copyfile(path, pristine)
    return SimpleNamespace(
        pristine=pristine,
        older=older,
        fork=fork,
        pages=pages,
        sealed={key: value for key, value in pages.items() if key != HEADER},
        history=[earlier for earlier, _ in states],
        forked=forked,
        twins=twins,
        items=items,
        answers=ask(path),
    )


@pytest.fixture
def attacked(case, tmp_path):
    """The path of a fresh copy of the index, to be tampered with."""
    path = tmp_path / "attacked" / "notes.cyb"
    path.parent.mkdir()
    restore(case, path)
    return path


def restore(case, path):
    """Undo every tampering."""
    for suffix in ("-lock", "-writer"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
    shutil.copyfile(case.pristine, path)


def judge(case, answers, what, *, noticed=False):
    """Assert that each answer is right or a typed error; `noticed`, that there is an error."""
    for question, answer in answers.items():
        if isinstance(answer, Exception):
            assert isinstance(answer, TYPED), (what, question, repr(answer))
        else:
            assert answer == case.answers[question], (what, question)
    if noticed:
        assert any(isinstance(answer, Exception) for answer in answers.values()), (
            what,
            "unnoticed",
        )


def tamper(case, path, changes, what, *, noticed=False):
    """Change pages, ask everything, judge, and undo."""
    write_pages(path, changes)
    answers = ask(path)
    judge(case, answers, what, noticed=noticed)
    restore(case, path)
    return answers


def named(key):
    """A page, for a message of a test."""
    return f"kind {key[0]} page {int.from_bytes(key[1:], 'big')}"


def kinds(pages):
    """The keys of pages by kind."""
    found = defaultdict(list)
    for key in sorted(pages):
        found[key[0]].append(key)
    return found


class Flipper:
    """Changes single bytes of values where they lie in the file, and changes them back."""

    def __init__(self, path):
        self.image = path.read_bytes()
        self.file = os.open(path, os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.file)

    def places(self, value):
        """Where a value starts, in LMDB's live page and in pages that it has freed."""
        found, at = [], self.image.find(value)
        while at >= 0:
            found.append(at)
            at = self.image.find(value, at + 1)
        assert found
        return found

    @contextlib.contextmanager
    def flipped(self, places, offset, mask):
        """One byte of the value changed, for the length of a with block."""
        for place in places:
            os.pwrite(self.file, bytes([self.image[place + offset] ^ mask]), place + offset)
        yield
        for place in places:
            os.pwrite(self.file, self.image[place + offset : place + offset + 1], place + offset)


def flip_and_ask(case, path, offsets_of, mask):
    """Flip bytes of every sealed page in turn; how many."""
    count = 0
    with Flipper(path) as flipper:
        for key, value in case.sealed.items():
            places = flipper.places(value)
            for offset in offsets_of(value):
                with flipper.flipped(places, offset, mask):
                    answers = ask(path)
                what = f"{named(key)} byte {offset}"
                # The tag that counts stands in the parent; the one beside the page may be ignored.
                counts = key == ROOT or offset < len(value) - TAG_BYTES
                judge(case, answers, what, noticed=counts and key[0] in NECESSARY)
                count += 1
    judge(case, ask(path), "the flips were undone")
    assert ask(path) == case.answers
    return count


def test_the_case_is_what_it_claims(case):
    """The index under attack has every kind of page that a small index can have."""
    assert not any(isinstance(answer, Exception) for answer in case.answers.values())
    assert set(kinds(case.sealed)) >= NECESSARY | {PageKind.GRAPH, PageKind.COLUMNS}
    assert len(kinds(case.sealed)[PageKind.COLUMNS]) > 1
    assert case.answers["length"] == len(case.items) == len(case.answers["ids"])
    assert case.answers["absent ids"] == []


def test_answers_are_the_oracles(case, attacked):
    """The answers that tampering must not change are right ones."""
    with Client(attacked.parent) as client, client.load_index("notes", index_key=KEY) as index:
        check_items(index, case.items)
        for query in QUERIES:
            for k in (3, 1000):
                results = index.query(query, top_k=k, include=EVERYTHING)
                check_query(results, query, k, "euclidean", case.items)
        check_filters(index, case.items)
    middle = meant(MIDDLE, case.items)
    assert case.answers["count"] == len(middle) > 20
    nearest = case.answers["query with a filter"]
    check_query(nearest, QUERIES[2], 3, "euclidean", {name: case.items[name] for name in middle})
    assert len(case.answers["ids with a filter"]) > 6
    numbers = [result["metadata"]["n"] for result in case.answers["metadata in order"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) > 3


def tags_of(metadata):
    return [tag["tag"] for tag in metadata.get("tags", ()) if isinstance(tag, dict)]


ORACLES = (
    (MIDDLE, lambda it: 9 <= it.get("n", 0) < 44),
    (LONG, lambda it: len(it.get("text", "")) > 599 or "odd" in it.get("tags", ()) or "kept" in it),
    ({"tags.tag": {"$gt": 1}}, lambda it: any(tag > 1 for tag in tags_of(it))),
    ({"w": 2}, lambda it: it.get("w") == 2),
)
"""Filters, and what they mean."""


def meant(filters, items):
    """The ids that a filter means."""
    means = next(means for known, means in ORACLES if known is filters)
    return {name for name, (_, metadata, _) in items.items() if means(metadata or {})}


def check_filters(index, items):
    """Assert that filters find what they mean, or fail with a typed error."""
    for filters, _ in ORACLES:
        with contextlib.suppress(TYPED):
            wanted = meant(filters, items)
            assert set(index.list_ids(filters=filters)) == wanted
            assert index.count(filters) == len(wanted)


def edges_and_a_stride(value):
    """A part of the bytes of nonce and tag, some of the ciphertext; the long suite takes all."""
    body = range(24, len(value) - TAG_BYTES)
    some = list(body[:2]) + list(body[-2:]) + list(body[37::1997])
    return sorted({*range(0, 24, 6), *range(len(value) - TAG_BYTES, len(value), 5), *some})


def test_flipped_bytes(case, attacked):
    """Any flipped byte of a nonce or a tag, and a stride of the ciphertext, changes no answer."""
    assert flip_and_ask(case, attacked, edges_and_a_stride, 0x01) > 250


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte(case, attacked, mask):
    """Every single byte of every sealed page, flipped, changes no answer."""
    flips = flip_and_ask(case, attacked, lambda value: range(len(value)), mask)
    assert flips == sum(map(len, case.sealed.values()))


def test_flips_written_through_lmdb(case, attacked):
    """A page changed by a regular LMDB transaction is noticed like one changed in place."""
    for key, value in case.sealed.items():
        changed = bytearray(value)
        changed[len(value) // 2] ^= 0x10
        tamper(case, attacked, {key: changed}, named(key), noticed=key[0] in NECESSARY)


def test_swapped_pages(case, attacked):
    """Any two pages of one kind that trade places are noticed, or change no answer."""
    for kind, keys in kinds(case.sealed).items():
        for one, other in itertools.combinations(keys, 2):
            changes = {one: case.sealed[other], other: case.sealed[one]}
            what = f"{named(one)} and {named(other)}"
            tamper(case, attacked, changes, what, noticed=kind in NECESSARY)


def test_pages_of_other_kinds(case, attacked):
    """A page put in the place of a page of another kind is noticed, or changes no answer."""
    chosen = [keys[0] for keys in kinds(case.sealed).values()]
    for one, other in itertools.permutations(chosen, 2):
        what = f"{named(other)} in the place of {named(one)}"
        changes = {one: case.sealed[other]}
        tamper(case, attacked, changes, what, noticed=one[0] in NECESSARY)


def test_older_pages(case, attacked):
    """A page replaced by any earlier version of itself is noticed, or changes no answer."""
    count = 0
    for key, value in case.sealed.items():
        versions = {earlier[key] for earlier in case.history if key in earlier} - {value}
        for version in versions:
            tamper(case, attacked, {key: version}, named(key), noticed=key[0] in NECESSARY)
            count += 1
    assert count > 20


def test_older_kinds(case, attacked):
    """All pages of one kind, rolled back together to an earlier commit, change no answer."""
    for earlier in case.history:
        for kind in kinds({**case.sealed, **earlier}):
            if kind == HEADER[0]:
                continue
            changes = changes_to(case, earlier, {kind})
            if changes:
                tamper(case, attacked, changes, f"kind {kind}", noticed=kind in NECESSARY)


def changes_to(case, target, chosen):
    """What turns the pages of some kinds into those of another file."""
    both = {key for key in {**case.sealed, **target} if key[0] in chosen}
    return {key: target.get(key) for key in both if target.get(key) != case.sealed.get(key)}


def test_older_root_with_its_table(case, attacked):
    """Root and page table of an earlier commit over newer pages: an error wherever they differ."""
    for number, earlier in enumerate(case.history):
        changes = changes_to(case, earlier, {1, 2})
        write_pages(attacked, changes)
        answers = ask(attacked)
        for question in ("query by a scan", "vectors", "metadata", "contents", "some items"):
            assert isinstance(answers[question], TYPED), (number, question)
        assert not any(answer == case.answers["commit"] for answer in answers.values())
        restore(case, attacked)


def test_pages_of_a_fork(case, attacked):
    """A page from a diverged copy of the same index is noticed, or changes no answer."""
    count = 0
    for key, value in case.sealed.items():
        foreign = case.forked.get(key, value)
        if foreign != value:
            tamper(case, attacked, {key: foreign}, named(key), noticed=key[0] in NECESSARY)
            count += 1
    assert count > 20
    for kind in kinds(case.sealed):
        changes = changes_to(case, case.forked, {kind})
        tamper(case, attacked, changes, f"kind {kind}", noticed=kind in NECESSARY)
    changes = changes_to(case, case.forked, set(kinds(case.sealed)) - {1})
    tamper(case, attacked, changes, "all but the root", noticed=True)


def test_pages_of_a_twin(case, attacked):
    """A page of another index under the same key, and with the same items, is noticed."""
    for key in case.sealed:
        if key in case.twins:
            changes = {key: case.twins[key]}
            tamper(case, attacked, changes, named(key), noticed=key[0] in NECESSARY)
    tamper(case, attacked, {HEADER: case.twins[HEADER]}, "header", noticed=True)
    everything = {key: value for key, value in case.twins.items() if key != HEADER}
    gone = dict.fromkeys(set(case.sealed) - set(everything))
    tamper(case, attacked, {**everything, **gone}, "all pages", noticed=True)


def test_dropped_pages(case, attacked):
    """A dropped page, or dropped pages of one kind, are noticed, or change no answer."""
    for key in case.sealed:
        tamper(case, attacked, {key: None}, named(key), noticed=key[0] in NECESSARY)
    for kind, keys in kinds(case.sealed).items():
        changes = dict.fromkeys(keys)
        tamper(case, attacked, changes, f"kind {kind}", noticed=kind in NECESSARY)
    tamper(case, attacked, dict.fromkeys(case.sealed), "every page", noticed=True)


def test_cut_and_extended_pages(case, attacked):
    """A page that became shorter or longer, with or without its tag, is noticed."""
    cut_and_extend(case, attacked, [keys[-1] for keys in kinds(case.sealed).values()])


@pytest.mark.slow
def test_every_page_cut_and_extended(case, attacked):
    """So is every single page."""
    cut_and_extend(case, attacked, case.sealed)


def cut_and_extend(case, attacked, keys):
    """Cut and extend pages, and ask everything each time."""
    zero = bytes(1)
    for key in keys:
        value = case.sealed[key]
        tag, size = value[-TAG_BYTES:], len(value)
        cuts = {0, 1, TAG_BYTES - 1, TAG_BYTES, OVERHEAD - 1, OVERHEAD, size // 2, size - 1}
        variants = [value[:cut] for cut in sorted(cuts)]
        variants += [value[:cut] + tag for cut in (0, 24, size // 2, size - TAG_BYTES - 1)]
        variants += [value[1:], value + zero, zero + value, value + value]
        variants += [value[:-TAG_BYTES] + zero + tag, value[:-TAG_BYTES] + bytes(4096) + tag]
        for number, variant in enumerate(variants):
            what = f"{named(key)} variant {number}"
            tamper(case, attacked, {key: variant}, what, noticed=key[0] in NECESSARY)


def test_resurrected_pages(case, attacked):
    """Pages that once were there and are gone, put back or made up, change no answer."""
    gone = {}
    for earlier in case.history:
        gone.update({key: value for key, value in earlier.items() if key not in case.pages})
    assert {key[0] for key in gone} >= {5}
    for key, value in gone.items():
        assert ask_after(attacked, {key: value}) == case.answers, named(key)
        restore(case, attacked)
    assert ask_after(attacked, gone) == case.answers
    restore(case, attacked)
    beyond = {}
    for kind, keys in kinds(case.sealed).items():
        for number in (1, 1000, (1 << 64) - 1):
            key = bytes([kind]) + number.to_bytes(8, "big")
            if key not in case.sealed:
                beyond[key] = case.sealed[keys[0]]
    beyond[b"\xff" * 9] = beyond[b"\x00\x00"] = beyond[b"\x01"] = b"of no kind"
    assert ask_after(attacked, beyond) == case.answers


def ask_after(path, changes):
    """Change pages and ask everything."""
    write_pages(path, changes)
    return ask(path)


FIELDS = {
    "magic": (0, 16, FormatError),
    "version": (16, 2, UnsupportedVersionError),
    "reserved": (18, 2, FormatError),
    "page size": (20, 4, (FormatError, IntegrityError)),
    "created": (24, 8, (FormatError, IntegrityError)),
    "index id": (32, 16, IntegrityError),
    "salt": (48, 32, WrongKeyError),
    "verifier": (80, 32, WrongKeyError),
}


@pytest.mark.parametrize("field", FIELDS)
def test_header_fields(case, attacked, field):
    """An edit of any byte of the header keeps the index from opening, with a typed error."""
    start, length, expected = FIELDS[field]
    for offset in range(start, start + length):
        for mask in (0x01, 0x80):
            header = bytearray(case.pages[HEADER])
            header[offset] ^= mask
            write_pages(attacked, {HEADER: header})
            with Client(attacked.parent) as client, pytest.raises(expected):
                client.load_index("notes", index_key=KEY)
            restore(case, attacked)


def test_description_of_an_edited_header(case, attacked):
    """Without a key, any header is described or refused with a FormatError."""
    for offset, mask in itertools.product(range(112), (0x01, 0x80)):
        write_pages(attacked, {HEADER: flip(case.pages[HEADER], offset, mask)})
        with Client(attacked.parent) as client, contextlib.suppress(FormatError):
            assert client.describe_index("notes")["name"] == "notes"
        restore(case, attacked)


def test_header_cut_and_replaced(case, attacked):
    """A header that is missing, cut, extended or of another index is refused."""
    header = case.pages[HEADER]
    variants = [None, b"", header[:1], header[:17], header[:111], header + b"\x00", header * 2]
    for variant in variants:
        write_pages(attacked, {HEADER: variant})
        with Client(attacked.parent) as client:
            with pytest.raises(FormatError):
                client.load_index("notes", index_key=KEY)
            with pytest.raises(FormatError):
                client.describe_index("notes")
        restore(case, attacked)
    header = bytearray(header)
    header[48:112] = case.twins[HEADER][48:112]
    tamper(case, attacked, {HEADER: header}, "salt and verifier of a twin", noticed=True)


def test_a_wrong_key_is_told_before_anything_is_opened(case, attacked):
    """With every sealed page destroyed, a wrong key is still called a wrong key."""
    write_pages(attacked, dict.fromkeys(case.sealed, bytes(100)))
    with Client(attacked.parent) as client:
        with pytest.raises(WrongKeyError):
            client.load_index("notes", index_key=bytes(32))
        with pytest.raises(IntegrityError):
            client.load_index("notes", index_key=KEY)


def unseal(key, sealed, place):
    """XAES-256-GCM by its specification, beside the one under test. Raises `InvalidTag`."""
    halves = []
    for counter in (b"\x00\x01X\x00", b"\x00\x02X\x00"):
        mac = CMAC(AES(key))
        mac.update(counter + sealed[:12])
        halves.append(mac.finalize())
    return AESGCM(b"".join(halves)).decrypt(sealed[12:24], sealed[24:], place)


def test_every_page_is_bound_to_its_place(case):
    """A page opens under the index id, its kind and its number, and under nothing else; the
    root's place includes the digest of the header."""
    header = case.pages[HEADER]
    index_id, salt = header[32:48], header[48:80]
    key = derive_keys(KEY, salt).pages
    places = sorted(case.sealed)
    for number, place in enumerate(places):
        digest = hashlib.sha256(header).digest() if place == ROOT else b""
        assert unseal(key, case.sealed[place], index_id + place + digest)
        wrong = [
            index_id + places[number - 1] + digest,
            index_id + bytes([place[0] ^ 1]) + place[1:] + digest,
            bytes(16) + place + digest,
            index_id,
            place,
            b"",
        ]
        wrong += [index_id + place, index_id + place + bytes(32)] if place == ROOT else []
        for other in wrong:
            with pytest.raises(InvalidTag):
                unseal(key, case.sealed[place], other)


def test_nonces_do_not_repeat(case):
    """No two sealed messages of an index, in all its history and its forks, share a nonce."""
    sealed = set()
    for pages in (*case.history, case.pages, case.forked):
        sealed |= {value for key, value in pages.items() if key != HEADER}
    assert len({value[:24] for value in sealed}) == len(sealed)


def test_rollback_of_the_whole_file(case, attacked):
    """A whole older file is a RollbackError for the one who remembers the sequence."""
    shutil.copyfile(case.older, attacked)
    with Client(attacked.parent) as client:
        with client.load_index("notes", index_key=KEY) as index:
            older = index.sequence
            assert index.commit_id != case.answers["commit"]
        assert older < case.answers["sequence"]
        with pytest.raises(RollbackError) as caught:
            client.load_index("notes", index_key=KEY, min_sequence=case.answers["sequence"])
        assert (caught.value.sequence, caught.value.expected) == (older, case.answers["sequence"])
        client.load_index("notes", index_key=KEY, min_sequence=older).close()


def test_fork_of_the_whole_file(case, attacked):
    """A fork of equal sequence is told apart by the commit id."""
    shutil.copyfile(case.fork, attacked)
    answers = ask(attacked, min_sequence=case.answers["sequence"])
    assert answers["sequence"] == case.answers["sequence"]
    assert answers["commit"] != case.answers["commit"]


def test_writes_do_not_launder_damage(case, attacked):
    """A write on top of a damaged page fails, or leaves an index without a wrong answer."""

    def work(index):
        errors = []
        steps = (
            lambda: index.upsert(["new", "i3"], QUERIES[:2], [{"w": 1}, None], ["w", None]),
            lambda: index.upsert(["i61"], [case.items["i61"][0]], [{"w": 2}]),
            lambda: index.delete(["i9", "i33", "j1"]),
            index.optimize,
        )
        for step in steps:
            try:
                step()
                errors.append(False)
            except TYPED:
                errors.append(True)
        return errors

    def expected(errors):
        items = dict(case.items)
        if not errors[0]:
            items["new"] = (QUERIES[0], {"w": 1}, "w")
            items["i3"] = (QUERIES[1], None, None)
        if not errors[1]:
            items["i61"] = (items["i61"][0], {"w": 2}, None)
        if not errors[2]:
            for name in ("i9", "i33", "j1"):
                del items[name]
        return items

    for key, value in case.sealed.items():
        write_pages(attacked, {key: value[:-20] + bytes([value[-20] ^ 1]) + value[-19:]})
        with Client(attacked.parent) as client:
            try:
                with client.load_index("notes", index_key=KEY) as index:
                    errors = work(index)
            except TYPED:
                errors = [True] * 4
            items = expected(errors)
            with contextlib.suppress(TYPED), client.load_index("notes", index_key=KEY) as index:
                check_against(index, items, named(key))
        restore(case, attacked)


def check_against(index, items, what):
    """Assert that each answer is the oracle's or a typed error."""
    for name in [*items, *NAMES, "new"]:
        with contextlib.suppress(TYPED):
            got = index.get([name])
            assert len(got) == (name in items), (what, name)
            if got:
                vector, metadata, contents = items[name]
                assert (got[0]["metadata"], got[0]["contents"]) == (metadata, contents), what
                assert plain(got[0]["vector"]) == plain(vector), what
    with contextlib.suppress(TYPED):
        assert sorted(index.list_ids()) == sorted(items), what
    check_filters(index, items)
    for query, k in itertools.product(QUERIES, (3, 1000)):
        with contextlib.suppress(TYPED):
            check_query(index.query(query, top_k=k), query, k, "euclidean", items)


class Accomplice:
    """A process that writes to files which this one has open, as LMDB demands."""

    SOURCE = (
        "import json, sys\n"
        "from support import write_pages\n"
        "for line in sys.stdin:\n"
        "    path, changes = json.loads(line)\n"
        "    write_pages(path, {bytes.fromhex(key): value and bytes.fromhex(value)"
        " for key, value in changes.items()})\n"
        "    print('done', flush=True)\n"
    )

    def __enter__(self):
        self.child = python(
            "-c", self.SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TESTS
        )
        return self

    def __exit__(self, *_):
        self.child.communicate(timeout=60)

    def write(self, path, changes):
        """Commit raw changes to a file."""
        encoded = {key.hex(): value and bytes(value).hex() for key, value in changes.items()}
        print(json.dumps([str(path), encoded]), file=self.child.stdin, flush=True)
        assert self.child.stdout.readline() == "done\n"


@pytest.fixture(scope="module")
def accomplice():
    with Accomplice() as accomplice:
        yield accomplice


@contextlib.contextmanager
def opened(path):
    with Client(path.parent) as client, client.load_index("notes", index_key=KEY) as index:
        yield index


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_tampering_under_an_open_handle(case, attacked, accomplice, warm):
    """Pages changed between two calls of an open handle change no answer."""
    for keys in kinds(case.sealed).values():
        for key in (keys[0], keys[-1]):
            value = case.sealed[key]
            earlier = [old[key] for old in case.history if old.get(key, value) != value]
            variants = [None, value[:-1] + bytes([value[-1] ^ 1]), *earlier[:1], *earlier[-1:]]
            for variant in variants:
                with opened(attacked) as index:
                    if warm:
                        assert ask_handle(index) == case.answers
                    accomplice.write(attacked, {key: variant})
                    judge(case, ask_handle(index), named(key), noticed=key == ROOT)
                restore(case, attacked)


def test_bytes_flipped_in_place_under_an_open_handle(case, attacked):
    """Bytes that change in the mapped file, between two calls, change no answer."""
    rng = random.Random(8)
    with Flipper(attacked) as flipper:
        for key, value in case.sealed.items():
            places = flipper.places(value)
            with opened(attacked) as index, flipper.flipped(places, rng.randrange(len(value)), 4):
                judge(case, ask_handle(index), named(key))


def test_rollback_under_an_open_handle(case, attacked, accomplice):
    """A handle refuses to go back to an earlier commit, or sideways to a fork of its own."""
    for target in (*case.history[1:], case.forked):
        changes = changes_to(case, target, set(range(1, 256)))
        with opened(attacked) as index:
            assert ask_handle(index) == case.answers
            accomplice.write(attacked, changes)
            for question, answer in ask_handle(index).items():
                assert isinstance(answer, RollbackError), question
            with pytest.raises(RollbackError):
                index.upsert(["new"], QUERIES[:1])
            with pytest.raises(RollbackError):
                index.delete(["i1"])
        restore(case, attacked)


def test_header_changed_under_an_open_handle(case, attacked, accomplice):
    """A handle notices that the header is no longer the one that it opened."""
    header = bytearray(case.pages[HEADER])
    header[31] ^= 1
    for variant in (header, case.twins[HEADER], None, b"short"):
        with opened(attacked) as index:
            accomplice.write(attacked, {HEADER: variant})
            judge(case, ask_handle(index), "header", noticed=True)
        restore(case, attacked)


@pytest.fixture(scope="module")
def projected(tmp_path_factory):
    """An index that is large and flat enough for every kind of page that there is."""
    path = tmp_path_factory.mktemp("projected") / "notes.cyb"
    make_index(path.parent, "notes", KEY, dimension=64, page_size=16384)
    rng = np.random.default_rng(12)
    vectors = rng.normal(size=(1200, 6)) @ rng.normal(size=(6, 64))
    items = {f"i{n}": (row.astype(np.float32), {"n": n}, None) for n, row in enumerate(vectors)}

    def upsert(index, items):
        ids, parts = list(items), zip(*items.values(), strict=True)
        index.upsert(ids, *map(list, parts))

    with opened(path) as index:
        upsert(index, items)
        index.optimize()
    first = path.with_suffix(".copy")
    shutil.copyfile(path, first)
    names = list(items)[:70]
    with opened(path) as index:
        assert index.delete(names) == 70
        for name in names:
            del items[name]
        more = {f"j{n}": (-items[f"i{n}"][0], {"n": n, "t": "j"}, None) for n in range(500, 640)}
        upsert(index, more)
        items.update(more)
        index.optimize()
        assert index.describe()["indexed_rows"] == len(items)
    second = path.with_suffix(".second")
    shutil.copyfile(path, second)
    older, pages = read_pages(first), read_pages(second)
    return SimpleNamespace(pristine=second, older=older, sealed=pages, items=items)


def derived(pages):
    """The keys of pages that a reader can do without."""
    return [key for key in sorted(pages) if key[0] not in NECESSARY and key != HEADER]


def check_what_is_derived(index, items):
    """Assert that everything is in the graph, and that filters find what they should."""
    assert index.describe()["indexed_rows"] == len(items)
    check_counts(index)


def check_counts(index):
    """Assert that filters count what they should."""
    assert index.count({"n": {"$gte": 600}}) == 640
    assert index.count({"n": {"$lt": 600}, "t": "j"}) == 100


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_damaged_graph_costs_nothing_but_time(projected, tmp_path, every):
    """Damage to any page of the graph or the columns changes no answer, and optimize makes both
    anew.
    """
    path = tmp_path / "notes.cyb"
    queries = np.array([projected.items[name][0] for name in ("i700", "i900", "j510")])
    keys = derived(projected.sealed)
    assert {key[0] for key in keys} == DERIVED
    other = {key: value for key, value in projected.older.items() if key in keys}
    attacks = [{key: None} for key in keys]
    attacks += [{key: flip(projected.sealed[key], 30)} for key in keys]
    attacks += [{key: value} for key, value in other.items() if value != projected.sealed[key]]
    attacks += [
        {a: projected.sealed[b], b: projected.sealed[a]} for a, b in itertools.pairwise(keys)
    ]
    attacks += [{key: projected.sealed[key][:-1] for key in keys}, dict.fromkeys(keys), other]
    for number, changes in enumerate(attacks[::-every]):
        restore(projected, path)
        write_pages(path, changes)
        with opened(path) as index:
            for query in queries:
                results = index.query(query, top_k=5)
                check_query(results, query, 5, "euclidean", projected.items)
            check_counts(index)
            if number % 9 == 0:
                index.optimize()
                check_what_is_derived(index, projected.items)
                check_query(index.query(query, top_k=5), query, 5, "euclidean", projected.items)
        if number % 9 == 0:
            with opened(path) as index:
                check_query(index.query(query, top_k=5), query, 5, "euclidean", projected.items)
                check_what_is_derived(index, projected.items)
                assert not index._session.columns.damaged


def flip(value, offset, mask=1):
    """A copy with one byte changed."""
    return value[:offset] + bytes([value[offset] ^ mask]) + value[offset + 1 :]
