"""Files of format version 1 that were written once, and are read as they are by every release."""

import shutil

import numpy as np
import pytest
from golden_data import (
    DIMENSION,
    HERE,
    KEY,
    PASSPHRASE,
    REPLACED,
    contents_of,
    expected,
    item,
    left,
)
from reader import read_index
from support import check_items, distances, raw

from cyborg_embedded import Client, UnsupportedVersionError
from cyborg_embedded.kms import Passphrase

NAMES = ("supplied", "managed")


@pytest.fixture
def place(tmp_path):
    """A folder with copies of the golden files."""
    for name in NAMES:
        shutil.copyfile(HERE / f"{name}.cyb", tmp_path / f"{name}.cyb")
    return tmp_path


@pytest.fixture
def client(place):
    return Client(place, kms={"owner": Passphrase(PASSPHRASE)})


def access(name):
    return {"index_key": KEY} if name == "supplied" else {}


def stored(each, name):
    """The vector of an item as it is stored."""
    vector = np.array(each["vector"], np.float32)
    if name == "supplied":
        return vector
    scale = np.float32(np.abs(vector).max() / np.float32(127))
    return np.round(vector / scale).astype(np.float32) * scale


def items_of(name):
    return {
        item_id: (stored(each, name), each["metadata"], contents_of(each))
        for item_id, each in expected().items()
    }


def test_what_they_hold():
    """The list of what they hold is what the script says; the files are small."""
    assert expected() == left()
    assert len(expected()) == 21
    for name in NAMES:
        assert (HERE / f"{name}.cyb").stat().st_size < 100_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("read_only", [True, False])
def test_reads(client, name, read_only):
    """Every item is there, sound, searched and filtered."""
    items = items_of(name)
    described = client.describe_index(name)
    assert described["format_version"] == 1
    assert described["key_managers"] == ({"owner": "passphrase"} if name == "managed" else {})
    with client.load_index(name, read_only=read_only, **access(name)) as index:
        check_items(index, items)
        assert index.verify().ok
        assert index.is_trained()
        assert (index.dimension, index.metric) == (
            DIMENSION,
            "cosine" if name == "supplied" else "euclidean",
        )
        query = [0.5, -1.0, 0.25, 2.0]
        ids = list(items)
        wanted = distances(query, [items[item_id][0] for item_id in ids], index.metric)
        found = index.query(query, top_k=5)
        order = np.argsort(wanted, kind="stable")[:5]
        assert [each["id"] for each in found] == [ids[at] for at in order]
        with_n = {i for i, (_, metadata, _) in items.items() if (metadata or {}).get("n", 0) > 9}
        assert set(index.list_ids({"n": {"$gt": 9}})) == with_n
        assert index.count({"é.a": "x"}) == sum("é" in (m or {}) for _, m, _ in items.values())


@pytest.mark.parametrize("name", NAMES)
def test_goes_on(client, name):
    """They are written to, compacted and backed up like any other."""
    with client.load_index(name, indexing="manual", **access(name)) as index:
        index.upsert(["new"], [[1, 2, 3, 4]], [{"n": 1}], [b"x"])
        assert index.delete([item(0)["id"]]) == 1
        index.compact()
        index.optimize()
        assert index.verify().ok
        items = items_of(name)
        del items[item(0)["id"]]
        assert sorted(index.list_ids()) == sorted([*items, "new"])


def test_independent_reader():
    """The reader that knows nothing but docs/FORMAT.md reads the same."""
    found = read_index(HERE / "supplied.cyb", KEY)
    items = items_of("supplied")
    assert sorted(each.id for each in found.items) == sorted(items)
    for each in found.items:
        vector, metadata, contents = items[each.id]
        assert np.array(each.vector, np.float32).tobytes() == vector.tobytes()
        assert (each.metadata, each.contents) == (metadata, contents)
        assert type(each.contents) is type(contents)
    assert found.graph is not None
    assert found.columns is not None
    assert (found.graph_rejected, found.columns_rejected) == (None, None)
    assert found.root["rows"] - found.root["live"] == len(REPLACED) + 3


@pytest.mark.parametrize("version", [0, 2, 65_535])
@pytest.mark.parametrize("name", NAMES)
def test_other_version(place, client, name, version):
    """A file of another version of the format is refused by every way in, and stays as it is."""
    path = place / f"{name}.cyb"
    with raw(path) as environment, environment.begin(write=True) as txn:
        header = bytearray(txn.get(b"\0"))
        header[16:18] = version.to_bytes(2, "big")
        # What a newer version has behind that is nobody's business.
        txn.put(b"\0", bytes(header) + b"more" * 10)
    before = path.read_bytes()
    for way in (
        lambda: client.load_index(name, **access(name)),
        lambda: client.load_index(name, read_only=True, **access(name)),
        lambda: client.load_index(name, untrusted=True, **access(name)),
        lambda: client.describe_index(name),
        lambda: client.repair_index(name, to="new", **access(name)),
        lambda: client.restore_index("new", path, **access(name)),
        lambda: client.delete_index(name, **access(name)),
    ):
        with pytest.raises(UnsupportedVersionError, match=f"version {version};"):
            way()
    assert path.read_bytes() == before
    assert client.list_indexes() == sorted(NAMES)
