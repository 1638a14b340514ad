"""Nothing that an index holds, and no key, reaches the file system, a message or a log."""

import base64
import contextlib
import logging
import os
import stat
import subprocess
import traceback

import numpy as np
import pytest
from support import KEY, make_index, python, read_pages, run_python, write_pages

from cyborg_embedded import Client, CyborgError
from cyborg_embedded.keys import derive_keys

SHORT = 8
"""The fewest bytes that are looked for: fewer occur in ciphertext by chance."""
DIMENSION = 16
RUN = 4
"""Numbers of a vector in a row that must not be found."""


def vector(number):
    """The distinctive vector of an item."""
    return np.random.default_rng(number + 1).normal(size=DIMENSION).astype(np.float32)


def texts(number):
    """The distinctive id, metadata and contents of an item."""
    return (
        f"identifier-{number:05}-Grünkohl",
        {f"metakey-{number:05}": f"metavalue-{number:05} Ωmega", "list": [f"nested-{number:05}"]},
        f"contents-{number:05} the quick brown fox " * (1 if number % 5 else 60),
    )


def items(numbers):
    """Items as `upsert` takes them."""
    parts = [(texts(number), vector(number)) for number in numbers]
    return [
        {"id": name, "vector": numbers, "metadata": metadata, "contents": contents}
        for (name, metadata, contents), numbers in parts
    ]


def encodings_of_bytes(data):
    """Data as it is, in hex, and in base64 wherever it may start in what was encoded."""
    found = {data, data.hex().encode(), data.hex().upper().encode()}
    for shift in range(3):
        whole = data[shift : len(data) - (len(data) - shift) % 3]
        found |= {base64.b64encode(whole), base64.urlsafe_b64encode(whole)}
    return found


def encodings_of_text(text):
    """Text in every encoding that a library might write it in."""
    found = set()
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        found |= encodings_of_bytes(text.encode(encoding))
    return found


def encodings_of_vector(numbers):
    """Every run of 4 numbers, in every float format; of unit length too."""
    found = set()
    for scaled in (numbers, numbers / np.linalg.norm(numbers)):
        for form in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
            for start in range(len(numbers) - RUN + 1):
                found |= encodings_of_bytes(scaled[start : start + RUN].astype(form).tobytes())
    return found


def encodings_of_key(key):
    """Every run of 16 bytes of a key."""
    return set().union(*(encodings_of_bytes(key[n : n + 16]) for n in range(len(key) - 15)))


def secrets_of(numbers):
    """Everything that must not be found of some items."""
    found = set()
    for number in numbers:
        name, metadata, contents = texts(number)
        value = metadata[f"metakey-{number:05}"]
        words = [name, name[:16], *metadata, value, value[:15], f"nested-{number:05}"]
        words += [contents[:14], "the quick brown fox"]
        for word in words:
            found |= encodings_of_text(word)
        found |= encodings_of_vector(vector(number))
    return found


class Detector:
    """Finds any of many byte strings in files, all at once, by their first 8 bytes."""

    def __init__(self, secrets):
        self.secrets = [secret for secret in secrets if len(secret) >= SHORT]
        starts = [int.from_bytes(secret[:SHORT], "little") for secret in self.secrets]
        self.starts = np.array(starts, np.uint64)

    def find(self, data):
        """The secrets in `data`."""
        windows = [
            np.frombuffer(data, "<u8", (len(data) - shift) // SHORT, shift)
            for shift in range(min(SHORT, len(data)))
            if len(data) - shift >= SHORT
        ]
        if not windows:
            return []
        likely = np.flatnonzero(np.isin(self.starts, np.concatenate(windows)))
        return [self.secrets[n] for n in likely if self.secrets[n] in data]

    def search(self, folder):
        """The secrets in any file below `folder`, with the file's name."""
        found = []
        for place, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(place, file)
                with open(path, "rb") as opened:
                    found += [(path, secret) for secret in self.find(opened.read())]
                found += [(path, secret) for secret in self.find(file.encode())]
        return found


def key_secrets(path):
    """The index key and all keys derived from it, once the index file is closed."""
    salt = read_pages(path)[b"\x00"][48:80]
    keys = derive_keys(KEY, salt)
    derived = encodings_of_key(bytes(keys.pages)) | encodings_of_key(bytes(keys.ids))
    return encodings_of_key(KEY) | derived


def search(folder, numbers):
    """Assert that nothing of some items, and no key, is in any file below `folder`."""
    secrets = secrets_of(numbers) | key_secrets(os.path.join(folder, "notes.cyb"))
    assert not Detector(secrets).search(folder)


PLANTED = {
    "id": texts(3)[0].encode(),
    "metadata key": b"{'metakey-00003':",
    "utf-16": "metavalue-00003".encode("utf-16-be"),
    "utf-32": "nested-00003".encode("utf-32-le"),
    "contents": b"xxcontents-00003 the quick",
    "hex": b"..." + texts(3)[0].encode().hex().encode(),
    "base64": base64.b64encode(b"z" + texts(3)[2].encode()),
    "base64 two off": base64.b64encode(b"zz" + texts(3)[2].encode()),
    "float16": vector(3).astype("<f2").tobytes(),
    "float32": vector(3).tobytes()[1:],
    "float32, middle": vector(3).tobytes()[24:40],
    "float64": vector(3).astype(">f8").tobytes(),
    "unit length": (vector(3) / np.linalg.norm(vector(3))).tobytes(),
    "vector in base64": base64.b64encode(b"z" + vector(3).tobytes()),
    "key": KEY[5:21],
    "key in hex": KEY.hex().encode(),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_detector_detects(tmp_path, kind):
    """The detector of these tests finds each kind of plaintext in the middle of random bytes."""
    noise = os.urandom(50_001)
    detector = Detector(secrets_of([3]) | encodings_of_key(KEY))
    (tmp_path / "file").write_bytes(noise)
    assert not detector.search(tmp_path)
    (tmp_path / "file").write_bytes(noise + PLANTED[kind] + noise)
    assert detector.search(tmp_path)
    os.unlink(tmp_path / "file")
    (tmp_path / "identifier-00003.tmp").write_bytes(b"")
    assert detector.search(tmp_path)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_no_plaintext_in_any_file(folder, client, metric):
    """No id, metadata, contents, vector or key is in any file, whatever was done."""
    with client.create_index("notes", index_key=KEY, metric=metric) as index:
        index.upsert(items(range(60)))
        open_files = Detector(secrets_of(range(60)) | encodings_of_key(KEY))
        assert not open_files.search(folder)
        index.optimize()
        assert not open_files.search(folder)
        index.query(vector(3), top_k=60, include=["vector", "contents", "metadata"])
        index.delete([texts(number)[0] for number in range(0, 60, 3)])
        index.upsert(items(range(40, 70)))
        index.optimize()
        index.upsert(items(range(70, 75)))
        index.get(index.list_ids())
    search(folder, range(75))
    with client.load_index("notes", index_key=KEY) as index:
        index.query(vector(3))
        index.delete(index.list_ids())
        index.optimize()
    search(folder, range(75))
    secrets = secrets_of(range(75)) | key_secrets(folder / "notes.cyb")
    client.delete_index("notes", index_key=KEY)
    assert not Detector(secrets).search(folder)


def test_no_plaintext_of_a_large_graph(folder, client):
    """Nor is it where the graph walks a projection of the vectors."""
    rng = np.random.default_rng(4)
    vectors = (rng.normal(size=(1100, 6)) @ rng.normal(size=(6, 64))).astype(np.float32)
    with client.create_index("notes", index_key=KEY) as index:
        index.upsert([f"identifier-{number:05}" for number in range(1100)], vectors)
        index.optimize()
        index.query(vectors[:3])
    secrets = set()
    for numbers in vectors[::20]:
        secrets |= encodings_of_vector(numbers)
    for number in range(0, 1100, 20):
        secrets |= encodings_of_text(f"identifier-{number:05}")
    assert not Detector(secrets | key_secrets(folder / "notes.cyb")).search(folder)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_no_plaintext import KEY, items
from cyborg_embedded import Client
index = Client(sys.argv[1]).load_index("notes", index_key=KEY)
for number in range(1, 10_000):
    index.upsert(items(range(number % 7 * 10, number % 7 * 10 + 30)))
    if number % 3 == 0:
        index.optimize()
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [2, 9])
def test_no_plaintext_after_a_kill(folder, after):
    """A process that is killed in the middle of writing leaves no plaintext behind."""
    make_index(folder, "notes", KEY, dimension=DIMENSION, metric="cosine", page_size=4096)
    here = os.path.dirname(__file__)
    child = python("-c", WRITER, folder, here, stdout=subprocess.PIPE)
    for line in child.stdout:
        if int(line) >= after:
            break
    child.kill()
    child.communicate()
    assert len(os.listdir(folder)) >= 3
    search(folder, range(0, 90, 2))
    with Client(folder) as client, client.load_index("notes", index_key=KEY) as index:
        assert len(index) >= 30
    search(folder, range(1, 90, 2))


ELSEWHERE = """
import os, sys, tempfile
os.umask(0)
sys.path.insert(0, sys.argv[2])
from test_no_plaintext import KEY, items, texts
from cyborg_embedded import Client
assert tempfile.gettempdir() == os.environ["TMPDIR"]
with Client(sys.argv[1]) as client:
    with client.create_index("notes", index_key=KEY) as index:
        index.upsert(items(range(50)))
        index.optimize()
        index.query(items([3])[0]["vector"])
        index.delete([texts(3)[0]])
        print(*sorted(os.listdir(sys.argv[1])))
        for name in (".", *os.listdir(sys.argv[1])):
            print(name, oct(os.stat(os.path.join(sys.argv[1], name)).st_mode & 0o777))
"""


def test_no_other_files_and_no_other_readers(folder, tmp_path):
    """An index is its file and lock files, for the owner alone whatever the umask; nothing is
    written to the home, the temporary or the working folder."""
    places = {name: tmp_path / name for name in ("TMPDIR", "HOME", "cwd")}
    for place in places.values():
        place.mkdir()
    child = {"TMPDIR": str(places["TMPDIR"]), "HOME": str(places["HOME"])}
    here = os.path.dirname(__file__)
    code, out, err = run_python(ELSEWHERE, folder, here, env=child, cwd=places["cwd"])
    assert code == 0, err
    assert not err
    names, *modes = out.splitlines()
    expected = {".lock", "notes.cyb", "notes.cyb-lock", "notes.cyb-writer"}
    assert set(names.split()) == expected
    assert dict(line.split() for line in modes) == {
        ".": "0o700",
        **dict.fromkeys(expected, "0o600"),
    }
    for name, place in places.items():
        assert not os.listdir(place), name


def test_saved_key_is_for_its_owner_alone(tmp_path, monkeypatch):
    """A key that is kept for development has mode 0600 in a folder of mode 0700."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0)
    try:
        Client.generate_key(save=True)
    finally:
        os.umask(before)
    place = tmp_path / ".cyborgdb"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "index_key").stat().st_mode) == 0o600


SECRET = "unspeakable-secret"
LOUD = 31337.25
"""A number of a vector. By name, since tracebacks show the source lines of these tests."""
BAD_CALLS = {
    "id too long": lambda index: index.get([SECRET * 100]),
    "id with surrogate": lambda index: index.upsert([SECRET + "\ud800"], [[1.0] * 4]),
    "id of bytes": lambda index: index.delete([SECRET.encode()]),
    "metadata of tuple": lambda index: index.upsert(["a"], [[1.0] * 4], [{SECRET: (SECRET,)}]),
    "metadata of object": lambda index: index.upsert(["a"], [[1.0] * 4], [{SECRET: object()}]),
    "metadata surrogate": lambda index: index.upsert(["a"], [[1.0] * 4], [{SECRET: "\ud800"}]),
    "metadata not a dict": lambda index: index.upsert(["a"], [[1.0] * 4], [SECRET]),
    "metadata depth": lambda index: index.upsert(["a"], [[1.0] * 4], [nested(SECRET)]),
    "contents surrogate": lambda index: index.upsert(["a"], [[1.0] * 4], None, [SECRET + "\ud800"]),
    "contents type": lambda index: index.upsert(["a"], [[1.0] * 4], None, [[SECRET]]),
    "unknown field": lambda index: index.upsert([{"id": SECRET, "vector": [1.0] * 4, SECRET: 1}]),
    "item not a dict": lambda index: index.upsert([SECRET]),
    "vector dimension": lambda index: index.upsert([SECRET], [[LOUD]]),
    "vector infinity": lambda index: index.upsert([SECRET], [[LOUD, np.inf, 0, 0]]),
    "vector text": lambda index: index.upsert([SECRET], [[SECRET] * 4]),
    "query NaN": lambda index: index.query([LOUD, np.nan, 0, 0]),
    "include": lambda index: index.query([0.0] * 4, include=[SECRET]),
    "top_k": lambda index: index.query([0.0] * 4, top_k=SECRET),
    "ragged": lambda index: index.upsert([SECRET], [[LOUD, [1]]]),
}


def nested(value):
    """Something nested deeper than metadata may be."""
    for _ in range(40):
        value = [value]
    return {"a": value}


def said(error):
    """All that an error and those before it say."""
    text = "".join(traceback.format_exception(error))
    return f"{text} {error} {error!r} {vars(error)} {error.args}"


def assert_silent(text):
    """Assert that a text holds nothing of keys, items or vectors."""
    for secret in (SECRET, KEY.hex(), repr(KEY)[2:-1], str(list(KEY))[1:-1], "31337"):
        assert secret not in text


@pytest.mark.parametrize("case", BAD_CALLS)
def test_errors_hold_no_secrets(index, caplog, case):
    """The errors of bad input name positions and types, never values; nothing is logged."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CyborgError) as caught:
        BAD_CALLS[case](index)
    # The traceback shows the source of this test, which names no secret but by its variable.
    assert_silent(said(caught.value))
    assert_silent(caplog.text)
    assert_silent(repr(index))


BAD_KEYS = {
    "short": KEY[:31],
    "long": KEY + KEY,
    "odd hex": KEY.hex()[:-1],
    "long hex": KEY.hex() + "00",
    "list": [*KEY],
    "wrong": KEY[1:] + b"z",
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_errors_hold_no_keys(client, index, case):
    """A key that is refused is not repeated."""
    for call in (client.create_index, client.load_index, client.delete_index):
        with pytest.raises(CyborgError) as caught:
            call("notes", index_key=BAD_KEYS[case])
        text = said(caught.value)
        assert KEY.hex()[:16] not in text
        assert repr(KEY[:8])[2:-1] not in text
        assert str([*KEY][:8])[1:-1] not in text


def test_errors_of_a_damaged_index_hold_no_secrets(folder, client, caplog):
    """Whatever damage an index reports, it tells nothing of what it holds."""
    caplog.set_level(logging.DEBUG)
    make_index(folder, "notes", KEY, dimension=4)
    with client.load_index("notes", index_key=KEY) as index:
        contents = [SECRET, SECRET * 100]
        index.upsert([SECRET, "b"], [[LOUD] * 4] * 2, [{SECRET: SECRET}] * 2, contents)
    path = folder / "notes.cyb"
    errors = []
    for key, value in read_pages(path).items():
        write_pages(path, {key: value[:30] + bytes([value[30] ^ 1]) + value[31:]})
        try:
            with client.load_index("notes", index_key=KEY) as index:
                for call in (lambda: index.get([SECRET, "b"]), lambda: index.query([0.0] * 4)):
                    with contextlib.suppress(CyborgError):
                        call()
                    try:
                        call()
                    except CyborgError as error:
                        errors.append(error)
        except CyborgError as error:
            errors.append(error)
        write_pages(path, {key: value})
    assert len(errors) > 6
    for error in errors:
        assert_silent(said(error))
    assert_silent(caplog.text)


def test_reprs_hold_no_secrets(index):
    """Neither an index nor anything it is made of shows keys or items when it is printed."""
    index.upsert([SECRET], [[LOUD] * 4], [{SECRET: SECRET}], [SECRET])
    index.optimize()
    index.query([0.0] * 4)
    index.get([SECRET])
    seen, queue = set(), [index]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or not type(thing).__module__.startswith("cyborg_embedded"):
            continue
        seen.add(id(thing))
        assert_silent(f"{thing!r} {thing} {thing:}")
        names = [*getattr(type(thing), "__slots__", ()), *getattr(thing, "__dict__", ())]
        queue.extend(getattr(thing, name, None) for name in names)
    assert len(seen) > 5
