"""A file of which the end is missing, wherever it was cut, is an error and not the end of a process."""

import pytest
from hostile_harness import Opener, place
from lmdb_layout import PAGE, PAGE_FIELDS, field, live_pages
from support import KEY, make_index

from cyborg_embedded import Client


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A file that ends in the pages of one long value."""
    folder = tmp_path_factory.mktemp("long")
    make_index(folder, "notes", KEY, dimension=2)
    with Client(folder).load_index("notes", index_key=KEY, indexing="manual") as index:
        for number in range(6):
            index.upsert([f"i{number}"], [[number, 1]])
        index.upsert(["long"], [[1, 2]], None, [b"x" * 50_000])
    data = (folder / "notes.cyb").read_bytes()
    last = max(live_pages(data, "main"))
    assert (last + field(data, last, "overflow count", PAGE_FIELDS)) * PAGE == len(data)
    return data


def cut_and_open(pristine, folder, lengths, *, untrusted):
    """Open the file cut to each of these lengths."""
    with Opener() as opener:
        for length in lengths:
            place(folder, pristine[:length])
            answers = opener.ask(folder, f"cut to {length}", untrusted=untrusted)
            assert answers == {"open": ["error", "FormatError"]}, length


@pytest.mark.parametrize("untrusted", [True, False], ids=["untrusted", "trusted"])
def test_cut_before_the_last_value(pristine, tmp_path, untrusted):
    """A file that was cut before the last page that a tree names is a FormatError."""
    last = max(live_pages(pristine, "main"))
    lengths = range(0, (last + 1) * PAGE, len(pristine) // 9)
    cut_and_open(pristine, tmp_path / "cut", [*lengths, (last + 1) * PAGE - 1], untrusted=untrusted)


@pytest.mark.parametrize("untrusted", [True, False], ids=["untrusted", "trusted"])
def test_cut_inside_the_last_value(pristine, tmp_path, untrusted):
    """So is one that was cut inside the pages of the last value."""
    last = max(live_pages(pristine, "main"))
    lengths = range((last + 1) * PAGE, len(pristine) - PAGE + 1, 2 * PAGE)
    cut_and_open(pristine, tmp_path / "cut", lengths, untrusted=untrusted)


def test_cut_inside_the_last_page(pristine, tmp_path):
    """What is cut off the last page costs no process its life."""
    with Opener() as opener:
        for cut in (1, 512, PAGE - 1):
            place(tmp_path / "cut", pristine[:-cut])
            answers = opener.ask(tmp_path / "cut", f"cut by {cut}")
            wrong = [answer for answer in answers.values() if answer[0] == "wrong"]
            assert not wrong
