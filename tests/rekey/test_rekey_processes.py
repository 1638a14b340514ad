"""Other processes beside one that renews an index: they wait, or are told to."""

import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from rekey_harness import (
    LEFT,
    NAME,
    Custodian,
    bytes_of,
    files,
    key_number,
    put,
    temporary,
    varied,
)
from support import check_items, python, run_python

from cyborg_embedded import LockedError
from cyborg_embedded.locks import FileLock

WORKER = Path(__file__).parent / "rekey_worker.py"


@pytest.fixture
def custodian(folder):
    return Custodian(folder)


@pytest.fixture
def items():
    return varied(5, 100)


@pytest.fixture
def index(custodian, items):
    with custodian.create(dimension=5, lock_timeout=0.3) as index:
        put(index, items)
        yield index


class Other:
    """Another process that does what it is told."""

    def __init__(self, child):
        self._child = child

    def tell(self, *words):
        self._child.stdin.write(" ".join(map(str, words)) + "\n")
        self._child.stdin.flush()

    def answer(self):
        return self._child.stdout.readline().strip()

    def does(self, *words):
        self.tell(*words)
        return self.answer()


@pytest.fixture
def other(folder, index):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with python(WORKER, "beside", folder, **pipes) as child:
        yield Other(child)
        child.stdin.close()
        assert child.wait(30) == 0


@contextlib.contextmanager
def during(work):
    """A with block while `work(progress=)` is held up at its first report, which then goes on."""
    inside, leave, errors = threading.Event(), threading.Event(), []

    def progress(*_):
        inside.set()
        assert leave.wait(30)

    def run():
        try:
            work(progress=progress)
        except BaseException as error:
            errors.append(error)
        finally:
            inside.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert inside.wait(30)
        assert not errors, errors
        yield
    finally:
        leave.set()
        thread.join(30)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("way", ["rekey", "compact"])
def test_open_elsewhere(folder, custodian, index, items, other, way):
    """An index that another process has open is not renewed: LockedError within lock_timeout, and
    nothing changed; once that process has closed it, it is.
    """
    custodian.way = way
    assert other.does("open", 0, 10) == str(len(items))
    before = bytes_of(folder)
    begun = time.monotonic()
    with pytest.raises(LockedError):
        index.rekey(key_number(1)) if way == "rekey" else index.compact()
    assert 0.25 < time.monotonic() - begun < 5
    assert bytes_of(folder) == before
    assert files(folder) == LEFT
    check_items(index, items)
    assert other.does("ids") == str(len(items))
    assert other.does("compact") == "LockedError"
    assert other.does("ids") == str(len(items))
    assert other.does("close") == "None"
    custodian.renew(index)
    check_items(index, items)
    assert other.does("open", custodian.number, 10) == str(len(items))


def test_opened_elsewhere_meanwhile(folder, custodian, index, items, other):
    """Who opens an index that is being renewed waits for it, as long as he likes."""
    with during(lambda **options: custodian.renew(index, **options)):
        assert other.does("open", 0, 0.2) == "LockedError"
        assert other.does("delete") == "LockedError"
        other.tell("open", 1, 30)
        time.sleep(0.3)
    assert other.answer() == str(len(items))
    check_items(index, items)
    assert other.does("close") == "None"
    assert other.does("open", 0, 1) == "WrongKeyError"


def test_others_after_a_failure(index, items, other):
    """After a rekey that has failed, others may open the index again, and not delete it."""

    def progress(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.rekey(key_number(1), progress=progress)
    assert other.does("delete") == "LockedError"
    assert other.does("open", 0, 1) == str(len(items))
    check_items(index, items)


def test_deleted_elsewhere_while_it_waits(folder, index, items, other, monkeypatch):
    """Who waits to have the index alone still has it open: nobody deletes it meanwhile, not even
    while his lock is being converted, which lets go of it.
    """
    assert other.does("open", 0, 10) == str(len(items))
    index._session._lock_timeout = 2.0
    outcomes = []
    convert = FileLock._convert

    def slowly(lock, kind):
        converted = convert(lock, kind)
        if not converted:
            time.sleep(0.5)
        return converted

    monkeypatch.setattr(FileLock, "_convert", slowly)

    def compact():
        try:
            index.compact()
        except BaseException as error:
            outcomes.append(error)

    thread = threading.Thread(target=compact)
    thread.start()
    time.sleep(0.3)
    assert other.does("delete") == "LockedError"
    thread.join(30)
    assert [type(error) for error in outcomes] in ([], [LockedError])
    check_items(index, items)


@pytest.mark.parametrize("leaving", [False, True])
def test_deleting_beside_another_who_asks_for_it(folder, custodian, index, other, leaving):
    """Who deletes an index while another process waits to have it alone does not hold that one up:
    he has it open for moments only, and gives up when his own time is over.
    """
    index.close()
    assert other.does("open", 0, 10) == "100"
    held = custodian.client.load_index(NAME, index_key=key_number(0), lock_timeout=10)
    outcomes = []

    def compact():
        outcomes.append(held.compact())
        held.close()

    thread = threading.Thread(target=compact)
    thread.start()
    time.sleep(0.2)
    begun = time.monotonic()
    assert other.does("close") == "None"
    if leaving:
        thread.join(5)
    assert other.does("delete") in ({"None"} if leaving else {"None", "LockedError"})
    assert time.monotonic() - begun < 5
    thread.join(30)
    assert outcomes == [None]


def test_two_delete_at_once(folder, custodian, index, other):
    """One of them does, the other is told in time that it is gone; none is told that it is locked."""
    index.close()
    outcomes = []

    def delete():
        try:
            custodian.client.delete_index(NAME, index_key=key_number(0), lock_timeout=10)
        except Exception as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("None")

    for _ in range(5):
        thread = threading.Thread(target=delete)
        begun = time.monotonic()
        other.tell("delete", 10)
        thread.start()
        outcomes.append(other.answer())
        thread.join(30)
        assert time.monotonic() - begun < 5
        assert sorted(outcomes) == ["IndexNotFoundError", "None"]
        outcomes.clear()
        custodian.client.create_index(NAME, index_key=key_number(0)).close()


def test_how_long_deleting_tries(folder, custodian, index, other):
    """The time that is given is that of all locks together."""
    assert other.does("open", 0, 10) == "100"
    index.close()
    begun = time.monotonic()
    with pytest.raises(LockedError):
        custodian.client.delete_index(NAME, index_key=key_number(0), lock_timeout=2)
    assert 1.9 < time.monotonic() - begun < 3.8


def test_a_file_that_is_in_use_is_not_cleared_away(folder, custodian, index, items, other):
    """The temporary file of a rekey that is under way stays when another process makes an index in
    the same folder; one that was left behind goes.
    """
    left = {f".new-left.cyb{suffix}" for suffix in ("", "-lock", "-writer")}
    with during(lambda **options: custodian.renew(index, **options)):
        mine = temporary(folder)
        assert mine
        for file in left:
            (folder / file).write_bytes(b"left")
        assert other.does("create", "second") == "None"
        assert temporary(folder) == mine
        custodian.client.create_index("third", index_key=key_number(9)).close()
        assert temporary(folder) == mine
    check_items(index, items)
    assert not temporary(folder)
    assert custodian.client.list_indexes() == [NAME, "second", "third"]


@pytest.mark.parametrize("renew", ["rekey", "compact", "create"])
def test_what_was_left_behind_goes(folder, custodian, index, renew):
    """The next rekey, compaction or creation in the folder removes what a killed one has left."""
    for suffix in ("", "-lock", "-writer"):
        (folder / f".new-0123456789abcdef.cyb{suffix}").write_bytes(b"left")
    (folder / ".new-fedcba9876543210.cyb-lock").write_bytes(b"left")
    if renew == "rekey":
        index.rekey(key_number(1))
    elif renew == "compact":
        index.compact()
    else:
        custodian.client.create_index("second", index_key=key_number(9)).close()
    assert not temporary(folder)


def test_who_clears_away_and_who_has_done_it_already(folder, custodian, monkeypatch):
    """A file that somebody else removes at the same moment is no error for who makes an index."""
    left = folder / ".new-0123456789abcdef.cyb-lock"
    left.write_bytes(b"left")
    unlink = os.unlink

    def removed(path, **options):
        unlink(path, **options)
        if os.fspath(path) == os.fspath(left):
            # What the other one has done a moment before.
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", removed)
    custodian.client.create_index("second", index_key=key_number(9)).close()
    assert not left.exists()


FORK = """
import os, signal, sys
from rekey_harness import Custodian, varied, put
from support import check_items
from cyborg_embedded import ClosedError, rekeying

custodian = Custodian(sys.argv[1])
index, items = custodian.create(dimension=5), varied(5, 1200)
put(index, items)


def fork(*_, **__):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        status = 1
        try:
            for call in (
                lambda: len(index),
                lambda: index.upsert(["a"], [[1, 2, 3, 4, 5]]),
                index.compact,
                index.optimize,
            ):
                try:
                    call()
                except ClosedError:
                    continue
                raise SystemExit("an inherited handle went on")
            index.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs, or goes on with the handle"


def before(owner, name):
    real = getattr(owner, name)

    def replaced(*arguments, **options):
        fork()
        return real(*arguments, **options)

    setattr(owner, name, replaced)


if sys.argv[2] == "progress":
    custodian.renew(index, progress=fork)
else:
    before({"check": rekeying, "take over": rekeying.PageStore}[sys.argv[2]], sys.argv[3])
    custodian.renew(index)
check_items(index, items)
index.upsert(["b"], [[1, 2, 3, 4, 5]])
index.close()
with custodian.load() as again:
    assert len(again) == len(items) + 1
print(sorted(os.listdir(sys.argv[1])))
"""


MOMENTS = {
    "between blocks": ("progress", ""),
    "before it is checked": ("check", "check_copy"),
    "when it is in its place": ("take over", "open_with"),
}


@pytest.mark.parametrize("when", MOMENTS)
def test_fork_meanwhile(tmp_path, when):
    """A child that is forked during a rekey has closed handles; its parent goes on with the rekey."""
    place = Path(__file__).parent
    code, out, err = run_python(FORK, tmp_path / "indexes", *MOMENTS[when], cwd=place)
    assert code == 0, err
    assert out.strip() == str(sorted(LEFT))
