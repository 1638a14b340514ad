"""What is no index at all in the place of one, and what lies beside it, opened as `untrusted`."""

import os
import random
import socket
import sys

import pytest
from hostile_harness import Opener, judge, make_case, place

OTHERS = {
    "empty": b"",
    "one byte": b"\x00",
    "zeros": bytes(1 << 16),
    "ones": b"\xff" * (1 << 16),
    "SQLite": b"SQLite format 3\x00" + bytes([16, 0, 1, 1, 0, 64, 32, 32]) + bytes(8192),
    "zip": b"PK\x03\x04" + bytes(5000) + b"PK\x05\x06" + bytes(18),
    "text": b"id,vector\n" * 2000,
    "random": random.Random(7).randbytes(70_000),
    "magic alone": bytes(16) + b"\xde\xc0\xef\xbe\x01\x00\x00\x00" + b"\xff" * 9000,
    "magic of 32 bits": bytes(12) + b"\xde\xc0\xef\xbe\x01\x00\x00\x00" + bytes(9000),
}
AT_ONCE = 4.0
"""Seconds that are enough for what needs no waiting."""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def opener():
    with Opener() as opener:
        yield opener


def test_files_of_others(opener, tmp_path):
    """Files that are no index are a FormatError, whatever they begin with."""
    with open(sys.executable, "rb") as file:
        others = {**OTHERS, "program": file.read(1 << 20)}
    for name, data in others.items():
        place(tmp_path / "other", data)
        assert opener.ask(tmp_path / "other", name) == {"open": ["error", "FormatError"]}, name


def in_place(kind, path):
    """Something else in the place of a file."""
    os.rename(path, path.parent / "elsewhere")
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        targets = {"link": "elsewhere", "dangling link": "nowhere", "device": "/dev/zero"}
        path.symlink_to({**targets, "link to itself": path.name}[kind])


@pytest.mark.parametrize(
    "kind",
    [
        "link",
        "dangling link",
        "link to itself",
        "device",
        "FIFO",
        "folder",
        "socket",
    ],
)
def test_no_file_in_its_place(case, opener, tmp_path, kind):
    """What is not a file by itself, a link included, is refused at once."""
    in_place(kind, place(tmp_path / "odd", case.pristine))
    answers = opener.ask(tmp_path / "odd", kind, AT_ONCE)
    assert set(answers) == {"open"}
    assert answers["open"][0] == "error", answers


@pytest.mark.parametrize(
    "kind",
    [
        "link",
        "dangling link",
        "FIFO",
        "folder",
        "socket",
    ],
)
def test_no_file_as_the_lock_of_the_folder(case, opener, tmp_path, kind):
    """What is not a file in the place of the folder's lock is refused at once, and left alone."""
    path = place(tmp_path / "odd", case.pristine)
    lock = path.parent / ".lock"
    lock.write_bytes(b"as it was")
    in_place(kind, lock)
    answers = opener.ask(path.parent, kind, AT_ONCE)
    assert set(answers) == {"open"}
    assert answers["open"][0] == "error", answers
    assert (path.parent / "elsewhere").read_bytes() == b"as it was"


@pytest.mark.parametrize(
    "kind",
    ["link", "dangling link", "FIFO", "folder"],
)
def test_no_file_as_a_leftover(case, opener, tmp_path, kind):
    """What has the name of a file that a crash has left, and is none, keeps nobody from opening."""
    path = place(tmp_path / "odd", case.pristine)
    left = path.parent / ".new-0011223344556677.cyb"
    left.write_bytes(b"")
    in_place(kind, left)
    answers = opener.ask(path.parent, kind, AT_ONCE)
    judge(case, answers, kind)
    assert answers["open"][0] == "is" or answers["open"][1] == "ReadOnlyError", answers


def test_lock_files_of_somebody_else(case, opener, tmp_path):
    """Lock files that somebody has put beside the file are not used, whatever they are."""
    with open(sys.executable, "rb") as file:
        program = file.read(1 << 16)
    variants = (b"", b"\xff" * 8192, program, random.Random(3).randbytes(40_000))
    for number, data in enumerate(variants):
        path = place(tmp_path / "locks", case.pristine)
        for suffix in ("-lock", "-writer"):
            path.with_name(path.name + suffix).write_bytes(data)
        answers = opener.ask(path.parent, f"lock files {number}")
        assert answers == case.commits[0]
    for kind in ("folder", "FIFO", "link", "device"):
        path = place(tmp_path / "locks", case.pristine)
        for suffix in ("-lock", "-writer"):
            beside = path.with_name(path.name + suffix)
            beside.write_bytes(b"")
            in_place(kind, beside)
        assert opener.ask(path.parent, kind) == case.commits[0], kind
