"""The worked example of docs/FORMAT.md, value by value, from first principles and from the code."""

import hashlib
import hmac
import itertools
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import reader
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from support import read_pages

from cyborg_embedded import Client, aead, header, pages, store
from cyborg_embedded.keys import blind, derive_keys
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import Root, decode_root

DOCUMENT = Path(__file__).parents[2] / "docs" / "FORMAT.md"

INDEX_KEY = bytes(range(32))
SALT = bytes(range(0x20, 0x40))
INDEX_ID = bytes(range(0xA0, 0xB0))
CREATED = 1_700_000_000
PAGE_SIZE = 256
FIRST_HALF = bytes(range(0xF0, 0xFC))
ITEM = {"id": "tea", "vector": [1.0, 2.0, 3.0], "metadata": {"year": 2023}, "contents": "hot"}


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, label):
    return hmac256(prk, b"cyborg-embedded/v1/" + label + b"\x01")


def xaes_key(key, first_half):
    """CMAC of two one-block messages, written out: AES(K, message xor K1)."""
    encryptor = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 - a single block, inside CMAC
    leading = int.from_bytes(encryptor.update(bytes(16)), "big") << 1
    k1 = (leading ^ 0x87 if leading >> 128 else leading) & ((1 << 128) - 1)
    messages = (b"\x00\x01X\x00" + first_half, b"\x00\x02X\x00" + first_half)
    return b"".join(
        encryptor.update((int.from_bytes(message, "big") ^ k1).to_bytes(16, "big"))
        for message in messages
    )


def place(kind, number):
    return bytes([kind]) + number.to_bytes(8, "big")


def messagepack(value):
    """MessagePack of small maps and arrays, short text, small numbers, byte strings, and the like."""
    if isinstance(value, dict):
        pairs = itertools.chain.from_iterable(value.items())
        return bytes([0x80 | len(value)]) + b"".join(map(messagepack, pairs))
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    if isinstance(value, bytes):
        return bytes([0xC4, len(value)]) + value
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(messagepack, value))
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    return bytes([value])


def compute():
    """Every value of the example, without the package."""
    prk = hmac256(SALT, INDEX_KEY)
    pages_key, ids_key = expand(prk, b"pages"), expand(prk, b"ids")
    verifier = hashlib.sha256(expand(prk, b"verifier")).digest()
    magic = b"CYBORG-EMBEDDED\0"
    head = struct.pack(">16sHHIQ", magic, 1, 0, PAGE_SIZE, CREATED) + INDEX_ID + SALT + verifier
    kx = xaes_key(pages_key, FIRST_HALF)
    seals = itertools.count(1)
    digest = hashlib.sha256(head).digest()

    def seal(kind, number, plaintext, more=b""):
        second_half = next(seals).to_bytes(12, "big")
        aad = INDEX_ID + place(kind, number) + more
        return FIRST_HALF + second_half + AESGCM(kx).encrypt(second_half, plaintext, aad)

    item_ids = struct.pack("<IH", 1, 3) + b"tea"
    record = struct.pack("<BII", 1, 13, 3) + b'{"year":2023}' + b"hot"
    items = struct.pack("<3I", 1, 12, 12 + len(record)) + record
    blinded = hmac256(ids_key, b"tea")[:16]
    entry = blinded + struct.pack("<I", 0)
    sealed_vectors = seal(3, 0, struct.pack("<3f", 1, 2, 3).ljust(216, b"\0"))
    sealed_item_ids = seal(12, 0, item_ids.ljust(256, b"\0"))
    sealed_items = seal(4, 0, items.ljust(256, b"\0"))
    sealed_ids = seal(7, 0, entry)
    tables = {3: sealed_vectors, 12: sealed_item_ids, 4: sealed_items, 7: sealed_ids}
    chunks = {kind: seal(2, kind << 48, sealed[-16:]) for kind, sealed in tables.items()}
    root = messagepack(
        {
            "sequence": 2,
            "metric": "cosine",
            "dimension": 3,
            "rows": 1,
            "live": 1,
            "ids": {"entries": 1, "sorted": 0},
            "tables": {kind: {"pages": 1, "chunks": chunks[kind][-16:]} for kind in tables},
            "graph": None,
            "precision": "float32",
            "navigator_dimensions": 0,
            "columns": None,
            "hidden": [],
        }
    )
    sealed_root = seal(1, 0, root, digest)
    entry_of_year = {
        "path": "year",
        "codes": 1,
        "sparse": False,
        "nested": False,
        "arrays": 0,
        "numbers": 6,
        "texts": 1,
    }
    directory = messagepack({"rows": 1, "complete": True, "columns": [entry_of_year]})
    columns = struct.pack("<I", len(directory)) + directory + sealed_items[-16:]
    columns += b"[2023]" + messagepack([]) + bytes([6])
    return {
        "index key": INDEX_KEY,
        "salt": SALT,
        "index id": INDEX_ID,
        "prk": prk,
        "pages key": pages_key,
        "ids key": ids_key,
        "verifier": verifier,
        "header": head,
        "header digest": digest,
        "first half": FIRST_HALF,
        "Kx": kx,
        "blinded id": blinded,
        "IDS AAD": INDEX_ID + place(7, 0),
        "TABLE AAD": INDEX_ID + place(2, 7 << 48),
        "root AAD": INDEX_ID + place(1, 0) + digest,
        "VECTORS plaintext": struct.pack("<3f", 1, 2, 3),
        "VECTORS tag": sealed_vectors[-16:],
        "ITEM_IDS plaintext": item_ids,
        "ITEM_IDS tag": sealed_item_ids[-16:],
        "ITEMS plaintext": items,
        "ITEMS tag": sealed_items[-16:],
        "IDS plaintext": entry,
        "IDS sealed": sealed_ids,
        "VECTORS chunk tag": chunks[3][-16:],
        "ITEM_IDS chunk tag": chunks[12][-16:],
        "ITEMS chunk tag": chunks[4][-16:],
        "IDS chunk sealed": chunks[7],
        "root plaintext": root,
        "root sealed": sealed_root,
        "commit id": sealed_root[-16:],
        "COLUMNS string": columns,
        "pages": {
            b"\0": head,
            place(1, 0): sealed_root,
            **{place(2, kind << 48): sealed for kind, sealed in chunks.items()},
            **{place(kind, 0): sealed for kind, sealed in tables.items()},
        },
    }


VALUES = compute()
FILE = VALUES.pop("pages")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The index of the example, made by the package with the example's randomness."""
    drawn = {32: SALT, 16: INDEX_ID}
    monkeypatch.setattr(header.secrets, "token_bytes", drawn.__getitem__)
    monkeypatch.setattr(header.time, "time", lambda: float(CREATED))

    def sealer(key):
        halves = itertools.chain([FIRST_HALF], (n.to_bytes(12, "big") for n in itertools.count(1)))
        return aead.Sealer(key, random=lambda _: next(halves))

    monkeypatch.setattr(pages, "Sealer", sealer)
    path = tmp_path / "example.cyb"
    root = Root(sequence=1, metric="cosine", dimension=3)
    store.PageStore.create(str(path), INDEX_KEY, root, page_size=PAGE_SIZE)
    monkeypatch.undo()
    monkeypatch.setattr(pages, "Sealer", sealer)
    with Client(tmp_path) as client, client.load_index("example", index_key=INDEX_KEY) as index:
        index.upsert([ITEM])
        yield index, path


@pytest.mark.parametrize("name", VALUES)
def test_every_value_stands_in_the_document(name):
    """Each value, computed from HMAC, SHA-256 and AES alone, is in the document after its name."""
    example = DOCUMENT.read_text().partition("## Worked example")[2]
    shown = re.search(rf"^{re.escape(name)} +((?:[0-9a-f]+$\n? *)+)", example, re.MULTILINE)
    assert shown is not None
    assert "".join(shown[1].split()) == VALUES[name].hex()


def test_the_package_writes_this_very_file(made):
    """With the example's randomness, the package writes exactly the example's records."""
    index, path = made
    assert index.sequence == 2
    assert index.commit_id == VALUES["commit id"]
    assert len(index) == 1
    index.close()
    assert read_pages(path) == FILE


def test_the_package_reads_it_back(made):
    """The item of the example comes back as it was given."""
    index, _ = made
    (item,) = index.get(["tea"])
    assert item.pop("vector").tolist() == ITEM["vector"]
    assert item == {name: value for name, value in ITEM.items() if name != "vector"}


def test_the_package_writes_these_columns(made):
    """The columns that `optimize` saves of the example's item are the string of the example."""
    index, path = made
    index.optimize()
    index.close()
    assert reader.read_index(path, INDEX_KEY).columns.by_path == {"year": [([2023], [], [])]}
    pages = read_pages(path)
    records = [pages[key] for key in sorted(pages) if key[0] == PageKind.COLUMNS]
    sealed = [
        AESGCM(VALUES["Kx"]).decrypt(page[12:24], page[24:], INDEX_ID + place(13, number))
        for number, page in enumerate(records)
    ]
    assert b"".join(sealed) == VALUES["COLUMNS string"].ljust(256, b"\0")


def test_the_package_derives_these_keys():
    """Key schedule and blinding of the package give the values of the example."""
    keys = derive_keys(INDEX_KEY, SALT)
    prk = hmac256(SALT, INDEX_KEY)
    assert prk == VALUES["prk"]
    assert (keys.pages, keys.ids) == (expand(prk, b"pages"), expand(prk, b"ids"))
    assert (keys.pages, keys.ids) == (VALUES["pages key"], VALUES["ids key"])
    assert keys.verifier == VALUES["verifier"]
    assert blind(keys.ids, [b"tea"]) == VALUES["blinded id"]


def test_the_package_seals_these_messages():
    """Header, AAD, sealing and the root record of the package give the values of the example."""
    fields = header.decode_header(VALUES["header"])
    assert header.encode_header(fields) == VALUES["header"]
    assert fields.digest == VALUES["header digest"]
    cipher = pages.PageCipher(fields, derive_keys(INDEX_KEY, SALT))
    assert cipher.aad(PageKind.IDS, 0) == VALUES["IDS AAD"]
    assert cipher.aad(PageKind.ROOT, 0) + fields.digest == VALUES["root AAD"]
    stored = SimpleNamespace(get={place(1, 0): memoryview(VALUES["root sealed"])}.get)
    root, tag = cipher.open_root(stored, fields)
    assert (root, tag) == (
        decode_root(VALUES["root plaintext"], PAGE_SIZE),
        VALUES["root sealed"][-16:],
    )
    seconds = iter([FIRST_HALF, (4).to_bytes(12, "big"), (9).to_bytes(12, "big")])
    sealer = aead.Sealer(VALUES["pages key"], random=lambda _: next(seconds))
    assert sealer.seal(VALUES["IDS plaintext"], VALUES["IDS AAD"]) == VALUES["IDS sealed"]
    assert sealer.seal(VALUES["root plaintext"], VALUES["root AAD"]) == VALUES["root sealed"]
    sealed = VALUES["root sealed"]
    opener = aead.Opener(VALUES["pages key"])
    opened = opener.open(memoryview(sealed), sealed[-16:], VALUES["root AAD"])
    assert opened == VALUES["root plaintext"]
    root = decode_root(opened, PAGE_SIZE)
    assert (root.rows, root.dimension, root.metric) == (1, 3, "cosine")
