"""Writes `corpus/`: bytes that each target takes, from a real index, for others to be made of.

    PYTHONPATH=tests python tests/fuzz/make_corpus.py

Files are named by their digests. Run it again when a decoder learns something new.
"""

import hashlib
import struct
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from support import KEY, make_index
from targets import MOST_NODES, PAGE_SIZE, ROOM, TARGETS, run

from cyborg_embedded import Client, KeyManagerError, links
from cyborg_embedded.blobs import load_blob
from cyborg_embedded.header import encode_header
from cyborg_embedded.kms import Passphrase
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import encode_root

CORPUS = Path(__file__).parent / "corpus"
FILTERS = (
    {"n": 3},
    {"n": {"$gte": 1, "$lt": 2.5}, "kind": {"$in": ["a", "b", None, True]}},
    {"$or": [{"a": {"$exists": True}}, {"$and": [{"b": {"$ne": 1}}, {"$not": {"c": 2}}]}]},
    {"$nor": [{"tags": {"$all": ["x", "y"]}}, {"tags": {"$size": 2}}]},
    {"text": {"$regex": "^a.*b$", "$options": "i"}, "x.y.z": {"$nin": [1, 2]}},
    {"list": {"$elemMatch": {"a": 1, "b": {"$gt": 2}}}},
    {"hidden": 1},
    {"day": {"$gt": "2020-01-01"}, "o": {"a": [1, {"b": None}]}},
)
REGISTRIES = (
    b'[owner]\nprovider = "passphrase"\npassphrase = "six words"\nmemory_kib = 64\npasses = 1\n',
    b'[a]\nprovider = "key-file"\npath = "${HOME:-/tmp}/key"\n[b]\nprovider = "keychain"\n',
    b'[v]\nprovider = "environment-variable"\nvariable = "NAME$$"\n# text\n',
    b'[aws]\nprovider = "aws-kms"\nkey_id = "alias/x"\nregion = "r"\ntimeout = 2.5\nkey_ttl = 60\n',
    b'[s]\nprovider = "aws-secrets-manager"\nsecret_id = """x"""\nkey_grace = inf\n',
)
NAMES = ("notes.cyb", "%3A%2E.cyb", "Ünï.cyb", ".new-00.cyb", "con.cyb", "a%zz b.cyb", "ключ")
METADATA = (b"{}", b'{"a": [1, 2.5, null, {"b": "\\u2603"}], "c": {"d": true}}', b'{"n": 1e400}')


class Corpus:
    """The files of all targets."""

    def __init__(self):
        self.found = {name: {} for name in TARGETS}

    def add(self, name, data, *, taken=True):
        """One more for a target, which takes it."""
        data = bytes(data)
        assert run(name, data) or not taken, name
        self.found[name][hashlib.sha256(data).hexdigest()[:12]] = data

    def write(self):
        for name, files in self.found.items():
            folder = CORPUS / name
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            for digest, data in files.items():
                (folder / digest).write_bytes(data)


def index_in(folder):
    """An index with every kind of page."""
    make_index(folder, "notes", KEY, dimension=4, page_size=PAGE_SIZE)
    rng = np.random.default_rng(1)
    client = Client(folder, kms={"owner": Passphrase("six words", memory_kib=64, passes=1)})
    index = client.load_index("notes", index_key=KEY, indexing="manual")
    names = [f"item {n} " + "ключ" * (n % 3) for n in range(70)]
    kept = [
        {"n": n, "t": ["a", n], "o": {"k": n % 2 > 0, "f": n / 3}, "s": "x" * n} for n in range(70)
    ]
    kept[5] = {"long": "y" * 3000}
    index.upsert(
        names, rng.normal(size=(70, 4)), kept, [None, "text", b"z" * 2000, b""] * 17 + [None] * 2
    )
    index.delete(names[::9])
    index.optimize()
    index.upsert(names[:3], rng.normal(size=(3, 4)), [None, {"b": 2**70}, {}], ["t", None, b""])
    return client, index


def add_pages(corpus, index):
    """What a file has."""
    with index._session.read() as (state, view):
        snapshot = state.snapshot
        corpus.add("header", encode_header(snapshot.header))
        corpus.add("root", encode_root(snapshot.root))
        tags = snapshot.tags[PageKind.ITEMS]
        corpus.add("page_table", struct.pack("<H", len(tags) // 16) + tags)
        for number in range(snapshot.pages(PageKind.ITEM_IDS)):
            corpus.add("item_ids", view.open(PageKind.ITEM_IDS, number))
        for number in range(snapshot.pages(PageKind.ITEMS)):
            data = view.open(PageKind.ITEMS, number)
            if len(data) <= ROOM:
                corpus.add("items", data)
        per_page = ROOM // 20 * 20
        entries = b"".join(
            view.open(PageKind.IDS, n)[:per_page] for n in range(snapshot.pages(PageKind.IDS))
        )
        record = snapshot.root.ids
        head = struct.pack("<3H", record.entries, record.sorted, snapshot.root.rows)
        corpus.add("ids", head + entries)
        corpus.add("graph_links", load_blob(view, PageKind.GRAPH, snapshot.root.graph.bytes))
        corpus.add("columns", load_blob(view, PageKind.COLUMNS, snapshot.root.columns.bytes))
        corpus.add("tombstones", b"\x01" + view.open(PageKind.TOMBSTONES, 0))


def add_small_ones(corpus):
    """What is better small: short pages that have everything, and what no file has."""
    record = struct.pack("<BII", 1 | 4 | 8, 20, 30) + bytes(16) + bytes(16)
    plain = struct.pack("<BII", 2, 2, 3) + b"{}" + b"abc"
    offsets = [16, 16 + len(record), 16 + len(record) + len(plain)]
    page = struct.pack("<4I", 2, *offsets) + record + plain
    corpus.add("items", page.ljust(ROOM, b"\0") + b'{"a": "123456789012"}' + bytes(2 * ROOM))
    graph = links.Links(
        2, 10, 1, 1,
        np.array([2, 0, 1], np.uint32), np.array([0, 1, 1], np.uint8),
        np.array([[2, 1, 2, 0, 0], [2, 0, 2, 0, 0], [1, 1, 0, 0, 0]], np.uint32),
        np.array([[1, 2, 0], [1, 1, 0]], np.uint32),
    )  # fmt: skip
    corpus.add("graph_links", links.encode(graph))
    numbers = np.arange(2 * 7, dtype="<f4")
    numbers[-2:] = 1.5
    corpus.add("projection", bytes([4, 2, 2]) + numbers.tobytes())
    assert MOST_NODES > 3
    for text in METADATA:
        corpus.add("metadata", text, taken=False)
    for name in NAMES:
        corpus.add("names", name.encode(), taken=False)
    for text in REGISTRIES:
        corpus.add("registry_file", text, taken=False)
    for asked in FILTERS:
        corpus.add("filters", msgspec.json.encode(asked), taken=False)
    for levels in (8, 100, 300):
        corpus.add("filters", b'{"$not": ' * levels + b'{"n": 1}' + b"}" * levels, taken=False)
        corpus.add("filters", b'{"$and": [' * levels + b'{"n": 1}' + b"]}" * levels, taken=False)


def main():
    corpus = Corpus()
    with tempfile.TemporaryDirectory() as folder:
        client, index = index_in(Path(folder))
        with index:
            add_pages(corpus, index)
        try:
            client.rewrap_index("notes", index_key=KEY, to_kms="owner")
        except KeyManagerError as error:
            raise SystemExit(str(error)) from None
        with client.load_index("notes", indexing="manual") as index:
            add_pages(corpus, index)
            with index._session.read() as (state, _):
                header = encode_header(state.snapshot.header)
        corpus.add("envelopes", header[112:])
    add_small_ones(corpus)
    corpus.write()


if __name__ == "__main__":
    main()
