"""A rekey that fails on the way has not happened: the file, and the handle, are what they were."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from rekey_harness import (
    LEFT,
    Custodian,
    bytes_of,
    file_of,
    files,
    put,
    temporary,
    varied,
)
from support import check_items, read_pages, run_python, write_pages

from cyborg_embedded import (
    CyborgError,
    IntegrityError,
    StorageFullError,
    rekeying,
    rewriting,
)
from cyborg_embedded.model import PageKind
from cyborg_embedded.store import PageStore

WAYS = ("rekey managed", "compact")


@pytest.fixture(params=WAYS)
def custodian(request, folder):
    return Custodian(folder, request.param)


@pytest.fixture
def items():
    return varied(5, 1100)


@pytest.fixture
def index(custodian, items, monkeypatch):
    monkeypatch.setattr(rewriting, "BLOCK_BYTES", 1)
    with custodian.create(dimension=5) as index:
        put(index, items, 600)
        yield index


def check_unchanged(custodian, folder, index, items, before):
    """All is as it was; this handle works, and so does the next rekey."""
    assert bytes_of(folder) == before
    assert files(folder) == LEFT
    check_items(index, items)
    index.upsert(["new"], [[1, 2, 3, 4, 5]])
    with custodian.load() as other:
        assert len(other) == len(items) + 1
        index.delete(["new"])
    check_items(index, items)
    custodian.renew(index)
    check_items(index, items)
    assert files(folder) == LEFT
    index.close()
    with custodian.load() as again:
        check_items(again, items)


def test_progress_is_told(custodian, index, items):
    """`progress` is told of items done and to do, from none to all, and never goes back."""
    told = []
    custodian.renew(index, progress=lambda *given: told.append(given))
    done, total = zip(*told, strict=True)
    assert set(total) == {len(items)}
    assert list(done) == sorted(set(done))
    assert (done[0], done[-1]) == (0, len(items))
    assert len(done) == 4


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [0, 2, -1], ids=["first", "middle", "last"])
def test_progress_raises(folder, custodian, index, items, error, at):
    """What `progress` raises ends the rekey and reaches the caller."""
    before, told = bytes_of(folder), []

    def progress(done, total):
        told.append(done)
        assert temporary(folder)
        if len(told) == at + 1 or (at < 0 and done == total):
            raise error

    with pytest.raises(error):
        custodian.renew(index, progress=progress)
    custodian.number = 0
    check_unchanged(custodian, folder, index, items, before)


STEPS = [
    (PageStore, "begin_file"),
    (rekeying, "check_copy"),
    (rewriting, "record_all_ids"),
    (rewriting, "append_copied"),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
def test_an_error_of_the_system(folder, custodian, index, items, monkeypatch, step):
    """So it is with an error of the system's, at whatever step it comes."""
    before = bytes_of(folder)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(*step, full)
        with pytest.raises((StorageFullError, OSError)):
            custodian.renew(index)
    check_unchanged(custodian, folder, index, items, before)


FULL = """
import os, resource, sys
from rekey_harness import Custodian, bytes_of, files, put, varied
from support import check_items
from cyborg_embedded import StorageFullError

place, kilobytes = sys.argv[1], int(sys.argv[2])
custodian = Custodian(place)
index, items = custodian.create(dimension=200), varied(200, 1000)
put(index, items)
before = bytes_of(place)
assert len(before) > 1 << 20
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, hard))
for renew in (lambda: custodian.renew(index), index.compact):
    try:
        renew()
    except StorageFullError:
        pass
    else:
        raise SystemExit("there was room")
    assert bytes_of(place) == before
    check_items(index, items)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
custodian.renew(index)
check_items(index, items)
index.close()
print(sorted(files(place)))
"""


@pytest.mark.parametrize("kilobytes", [1, 40, 900])
def test_a_limit_of_the_size_of_files(tmp_path, kilobytes):
    """A limit that the new file meets is a StorageFullError, and the old one works."""
    place = Path(__file__).parent
    code, out, err = run_python(FULL, tmp_path / "indexes", kilobytes, cwd=place)
    assert code == 0, err
    assert out.strip() == str(sorted(LEFT))


def test_the_folder_takes_no_file(folder, custodian, index, items, monkeypatch):
    """A folder in which no file can be made is an error, and nothing else."""
    before = bytes_of(folder)
    real = os.open

    def refusing(path, flags, *rest, **options):
        if ".new-" in os.fsdecode(path):
            raise PermissionError(errno.EACCES, "no")
        return real(path, flags, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        with pytest.raises(CyborgError):
            custodian.renew(index)
    check_unchanged(custodian, folder, index, items, before)


DERIVED = (PageKind.GRAPH, PageKind.NAVIGATION, PageKind.PROJECTION)
GROUND = (PageKind.VECTORS, PageKind.ITEMS, PageKind.ITEM_IDS, PageKind.CONTENTS, PageKind.METADATA)


@pytest.mark.parametrize("kind", GROUND, ids=[kind.name for kind in GROUND])
def test_damage(folder, kind):
    """A page of the old file that is damaged is an IntegrityError, and the old file stays."""
    custodian, items = Custodian(folder), varied(5, 1100)
    with custodian.create(dimension=5) as index:
        put(index, items)
    records = read_pages(file_of(folder))
    place = max(place for place in records if place[0] == kind)
    damaged = bytearray(records[place])
    damaged[len(damaged) // 2] ^= 1
    write_pages(file_of(folder), {place: bytes(damaged)})
    before = bytes_of(folder)
    with custodian.load() as index:
        for renew in (lambda: custodian.renew(index), index.compact):
            with pytest.raises(IntegrityError) as caught:
                renew()
            assert caught.value.kind == kind.name
            assert bytes_of(folder) == before
            assert files(folder) == LEFT
        assert len(index.list_ids() if kind != PageKind.ITEM_IDS else index) == len(items)
    write_pages(file_of(folder), {place: records[place]})
    with custodian.load() as index:
        custodian.renew(index)
        check_items(index, items)


@pytest.fixture(scope="module")
def with_graph(tmp_path_factory):
    """A folder with an index that has a graph."""
    folder = tmp_path_factory.mktemp("made") / "indexes"
    with Custodian(folder).create(dimension=40, navigator_dimensions=16) as index:
        put(index, varied(40, 500))
        index.optimize()
        assert index.describe()["indexed_rows"] == 500
    return folder


@pytest.mark.parametrize("kind", DERIVED, ids=[kind.name for kind in DERIVED])
def test_damage_of_what_can_be_made_again(with_graph, folder, kind):
    """A damaged graph stays behind; all else goes along."""
    shutil.copytree(with_graph, folder)
    custodian, items = Custodian(folder), varied(40, 500)
    place = bytes([kind]) + bytes(8)
    damaged = bytearray(read_pages(file_of(folder))[place])
    damaged[60] ^= 1
    write_pages(file_of(folder), {place: bytes(damaged)})
    with custodian.load() as index:
        custodian.renew(index)
        assert index.describe()["indexed_rows"] == 0
        check_items(index, items)
        index.optimize()
        assert index.describe()["indexed_rows"] == len(items)
