"""Whatever somebody does to the envelopes in a header: an error that is named, or nothing opens."""

import contextlib
import shutil
import subprocess
import threading

import msgspec
import pytest
from key_harness import (
    DIMENSION,
    HEADER,
    ROOT,
    Vault,
    bytes_of,
    fill,
    key_file,
    open_files,
    outage,
    passphrase,
    refusal,
)
from support import KEY, contents_of, python, read_pages, wait_until, write_pages

from cyborg_embedded import (
    Client,
    CyborgError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    RollbackError,
    WrongKeyError,
)
from cyborg_embedded.kms import passphrase as passphrase_module

FIXED = 112
"""Bytes of a header before its envelopes."""
TYPED = (KeyManagerError, FormatError, IntegrityError)


@pytest.fixture
def kms(tmp_path):
    return {"phrase": passphrase(), "file": key_file(tmp_path), "vault": Vault()}


@pytest.fixture
def client(folder, kms):
    with Client(folder, kms=kms) as client:
        yield client
    assert not open_files(folder)


def make(client, name, *slots):
    """An index under these managers; its file."""
    with client.create_index(name, kms_name=slots[0], dimension=DIMENSION) as index:
        fill(index)
    for slot in slots[1:]:
        client.add_key_manager(name, slot)
    return client._folder.find(name)


def header_of(path):
    return read_pages(path)[HEADER]


def envelopes_of(header):
    return msgspec.msgpack.decode(header[FIXED:])


def with_envelopes(header, envelopes):
    return header[:FIXED] + (msgspec.msgpack.encode(envelopes) if envelopes else b"")


def opened(client, name="notes", **given):
    """The error that opening an index ends with; fails where it opens."""
    with pytest.raises(CyborgError) as caught:
        client.load_index(name, **given).close()
    return caught.value


def refuses_everything(client, name="notes"):
    """No operation works on the index, and none of them makes its header a sound one again."""
    path = client._folder.find(name)
    before = read_pages(path)
    for call in (
        lambda: client.rewrap_index(name, to_kms="vault"),
        lambda: client.rewrap_index(name, to_supplied=True),
        lambda: client.add_key_manager(name, "vault"),
        lambda: client.remove_key_manager(name, "file"),
    ):
        with pytest.raises(CyborgError) as caught:
            call()
        assert isinstance(caught.value, (*TYPED, InvalidInputError, KeyRequiredError))
    assert read_pages(path) == before


@pytest.mark.parametrize("slots", [("file",), ("phrase",), ("file", "phrase")], ids=" ".join)
def test_every_byte(client, slots):
    """No byte of the envelopes can be changed: the index does not open, or its root says so."""
    path = make(client, "notes", *slots)
    header = header_of(path)
    for place in range(FIXED, len(header)):
        for change in (0x01, 0x80) if len(slots) == 1 else (0x04,):
            changed = bytearray(header)
            changed[place] ^= change
            write_pages(path, {HEADER: bytes(changed)})
            # Of two managers the other one gives the key: then it is the root that does not fit.
            kinds = TYPED if len(slots) == 1 else (FormatError, IntegrityError)
            assert isinstance(opened(client), kinds), place
    write_pages(path, {HEADER: header})
    client.load_index("notes").close()


def test_changed_envelopes_are_not_made_sound(client):
    """An index whose envelopes were changed is not repaired by changing who holds its key."""
    path = make(client, "notes", "file", "phrase")
    header = header_of(path)
    first, second = envelopes_of(header).items()
    spoiled = {**first[1], "ciphertext": bytes(72)}
    for envelopes in (
        dict([first]),
        dict([second]),
        dict([second, first]),
        dict([(first[0], spoiled), second]),
        dict([first, (second[0], spoiled)]),
        dict([first, second, ("third", first[1])]),
        {},
    ):
        write_pages(path, {HEADER: with_envelopes(header, envelopes)})
        refuses_everything(client)
        error = opened(client)
        assert isinstance(error, IntegrityError if envelopes else KeyRequiredError)
    write_pages(path, {HEADER: header})
    client.load_index("notes").close()


def test_dropped_envelopes(client, kms):
    """An index from whose header all envelopes were taken does not open with its key either."""
    path = make(client, "notes", "vault", "file")
    key = next(iter(kms["vault"].kept.values()))[1]
    header = header_of(path)
    write_pages(path, {HEADER: header[:FIXED]})
    assert type(opened(client)) is KeyRequiredError
    assert type(opened(client, index_key=key)) is IntegrityError
    assert type(opened(client, index_key=KEY)) is WrongKeyError
    assert type(opened(client, kms_name="vault")) is InvalidInputError


def test_envelopes_that_were_put_in(client, kms):
    """An index of a supplied key does not become one of a key manager, whoever wraps the key."""
    client.create_index("notes", index_key=KEY, dimension=DIMENSION).close()
    path = client._folder.find("notes")
    header = header_of(path)
    other = envelopes_of(header_of(make(client, "other", "vault")))
    write_pages(path, {HEADER: with_envelopes(header, other)})
    assert type(opened(client)) is KeyManagerError
    assert type(opened(client, index_key=KEY)) is InvalidInputError
    token = next(iter(other.values()))["ciphertext"]
    kms["vault"].kept[token] = (header[32:48], KEY)
    assert type(opened(client)) is IntegrityError
    kms["vault"].kept[token] = (header[32:48], bytes(range(32)))
    assert type(opened(client)) is WrongKeyError


@pytest.mark.parametrize("slot", ["phrase", "file", "vault"])
def test_envelopes_of_another_index(client, slot):
    """An envelope of another index under the same manager opens neither that nor this one."""
    path, other = make(client, "notes", slot), make(client, "other", slot)
    header = header_of(path)
    foreign = header_of(other)
    write_pages(path, {HEADER: header[:FIXED] + foreign[FIXED:]})
    error = opened(client)
    assert type(error) is KeyManagerError
    assert error.refused
    refuses_everything(client)
    write_pages(path, {HEADER: foreign})
    assert type(opened(client)) is IntegrityError
    write_pages(path, {HEADER: header})
    client.load_index("notes").close()


def test_a_manager_that_binds_nothing(client, kms):
    """A manager that gives the key of any envelope that it made opens no index with a wrong one."""
    path, other = make(client, "notes", "vault", "file"), make(client, "other", "vault")
    kms["vault"].instead = bytes
    header = header_of(path)
    swapped = envelopes_of(header)
    swapped["vault"] = envelopes_of(header_of(other))["vault"]
    write_pages(path, {HEADER: with_envelopes(header, swapped)})
    assert type(opened(client, kms_name="vault")) is WrongKeyError
    assert type(opened(client)) is IntegrityError  # by way of the other manager


def test_slots_of_other_managers(client, kms):
    """Envelopes under each other's names open nothing."""
    path = make(client, "notes", "file", "phrase")
    header = header_of(path)
    file, phrase = envelopes_of(header).values()
    write_pages(path, {HEADER: with_envelopes(header, {"file": phrase, "phrase": file})})
    error = opened(client)
    assert type(error) is KeyManagerError
    assert error.refused


def test_an_older_header(client):
    """A header of an earlier commit under the newest root is refused, and so is the reverse."""
    path = make(client, "notes", "file", "phrase")
    older = read_pages(path)
    client.remove_key_manager("notes", "file")
    newer = read_pages(path)
    for records in ({HEADER: older[HEADER]}, {HEADER: newer[HEADER], ROOT: older[ROOT]}):
        write_pages(path, newer | records)
        for given in ({}, {"kms_name": "phrase"}):
            assert type(opened(client, **given)) is IntegrityError
        refuses_everything(client)
    write_pages(path, newer)
    client.load_index("notes").close()
    assert isinstance(opened(client, kms_name="file"), KeyManagerError)


def test_older_header_and_root(client):
    """Both of an earlier commit are a rollback, which whoever remembers a sequence notices."""
    path = make(client, "notes", "file", "phrase")
    older = read_pages(path)
    client.remove_key_manager("notes", "file")
    with client.load_index("notes") as index:
        sequence = index.sequence
    write_pages(path, {HEADER: older[HEADER], ROOT: older[ROOT]})
    error = opened(client, min_sequence=sequence)
    assert type(error) is RollbackError
    assert (error.sequence, error.expected) == (sequence - 1, sequence)


WRITER = """
import sys
from support import write_pages
print("ready", flush=True)
for line in sys.stdin:
    write_pages(sys.argv[1], {bytes.fromhex(k): bytes.fromhex(v)
                              for k, v in (part.split(":") for part in line.split())})
    print("done", flush=True)
"""


@contextlib.contextmanager
def another_process(path):
    """What writes records into a file that this process has open."""
    with python("-c", WRITER, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:

        def write(records):
            child.stdin.write(" ".join(f"{k.hex()}:{v.hex()}" for k, v in records.items()) + "\n")
            child.stdin.flush()
            assert child.stdout.readline() == "done\n"

        try:
            assert child.stdout.readline() == "ready\n"
            yield write
        finally:
            child.kill()


def test_open_handles(client, kms):
    """A handle that is open answers as it did, or says at the next call that the header was
    changed; it goes on once that is undone.
    """
    path = make(client, "notes", "file", "phrase")
    shutil.copyfile(path, path + ".copy")
    pages = read_pages(path + ".copy")
    header = pages[HEADER]
    first, second = envelopes_of(header).items()
    other = header_of(make(client, "other", "file", "phrase"))
    changed = {
        "a byte": (header[:-1] + bytes([header[-1] ^ 1]), IntegrityError),
        "no envelopes": (header[:FIXED], IntegrityError),
        "one of two": (with_envelopes(header, dict([second])), IntegrityError),
        "another order": (with_envelopes(header, dict([second, first])), IntegrityError),
        "those of another index": (header[:FIXED] + other[FIXED:], IntegrityError),
        "the header of another index": (other, IntegrityError),
        "no envelopes but something": (header[:FIXED] + b"\x80", FormatError),
        "half an envelope": (header[:-9], FormatError),
    }
    with client.load_index("notes") as index, another_process(path) as write:
        held = contents_of(index)
        for what, (record, kind) in changed.items():
            write({HEADER: record})
            for call in (
                lambda: index.get(["i1"]),
                lambda: index.query([0.0] * DIMENSION),
                lambda: index.upsert(["x"], [[0.0] * DIMENSION]),
                lambda: index.delete(["i1"]),
                lambda: index.sequence,
                index.optimize,
            ):
                with pytest.raises(kind):
                    call()
                    pytest.fail(what)
            write({HEADER: header})
            assert contents_of(index) == held
        client.remove_key_manager("notes", "file")
        assert contents_of(index) == held
        write({HEADER: header})
        with pytest.raises(IntegrityError):
            index.get(["i1"])
        write({ROOT: pages[ROOT]})
        with pytest.raises(RollbackError):
            index.get(["i1"])


def test_a_changed_header_ends_no_lease(client, kms):
    """Whoever takes the envelopes out of the header for a while does not spare an open handle from
    asking its key manager: a refusal after that still locks it.
    """
    kms["vault"].key_ttl = 0.05
    path = make(client, "notes", "vault")
    shutil.copyfile(path, path + ".copy")
    header = header_of(path + ".copy")
    with client.load_index("notes") as index, another_process(path) as write:
        (thread,) = [each for each in threading.enumerate() if each.name.endswith("lease")]
        renewals, renew = [], index._lease._renew
        index._lease._renew = lambda session: renewals.append(1) or renew(session)
        write({HEADER: header[:FIXED]})
        seen = len(renewals)
        wait_until(lambda: len(renewals) >= seen + 2 or not thread.is_alive())
        write({HEADER: header})
        kms["vault"].trouble = refusal
        wait_until(lambda: index._session._locked is not None or not thread.is_alive())
        with pytest.raises(KeyManagerError):
            index.get(["i1"])


HOSTILE = {
    "too much memory": {"memory_kib": (1 << 20) + 1},
    "all memory there is": {"memory_kib": 1 << 32},
    "too many passes": {"passes": 17},
    "passes without end": {"passes": 1 << 32},
    "too many lanes": {"lanes": 17},
    "no memory": {"memory_kib": 0},
    "no passes": {"passes": 0},
    "no lanes": {"lanes": 0},
    "less memory than lanes": {"memory_kib": 8, "lanes": 2},
    "a short salt": {"salt": bytes(15)},
    "a long salt": {"salt": bytes(17)},
    "a salt of text": {"salt": "0123456789abcdef"},
    "memory as text": {"memory_kib": "64"},
    "something more": {"secret": b"x"},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
def test_hostile_costs(client, monkeypatch, changes):
    """Costs out of bounds are refused before Argon2id runs, and before a passphrase is asked for."""
    path = make(client, "notes", "phrase")
    header = header_of(path)
    envelopes = envelopes_of(header)
    envelopes["phrase"]["parameters"] |= changes
    write_pages(path, {HEADER: with_envelopes(header, envelopes)})
    ran = []
    monkeypatch.setattr(passphrase_module, "Argon2id", lambda **costs: ran.append(costs))
    error = opened(client)
    assert type(error) is KeyManagerError
    assert error.refused
    assert not ran


@pytest.mark.parametrize(
    "parameters",
    [
        {"memory_kib": 1.5},
        {"memory_kib": True},
        {"memory_kib": -1},
        {"memory_kib": None},
        {"memory_kib": (1 << 32) + 1},
        {"salt": [1] * 16},
        {"salt": bytes(257)},
        {"": 1},
        {"x" * 65: 1},
        {f"p{n}": n for n in range(17)},
    ],
    ids=lambda parameters: repr(parameters)[:30],
)
def test_parameters_that_no_envelope_has(client, parameters):
    """Parameters of other types or sizes make no header, whichever manager they are for."""
    path = make(client, "notes", "vault", "phrase")
    header = header_of(path)
    for slot in ("vault", "phrase"):
        envelopes = envelopes_of(header)
        envelopes[slot]["parameters"] |= parameters
        write_pages(path, {HEADER: with_envelopes(header, envelopes)})
        assert type(opened(client)) is FormatError
        with pytest.raises(FormatError):
            client.describe_index("notes")


def test_an_attacker_who_wraps(client, kms, folder):
    """Whoever can wrap a key of their own for this index still cannot make its pages open: with
    their verifier in the header the pages are not of that key, without it the key is wrong.
    """
    path = make(client, "notes", "vault")
    header = header_of(path)
    mine = make(client, "mine", "vault")
    token = envelopes_of(header_of(mine))["vault"]["ciphertext"]
    kms["vault"].kept[token] = (header[32:48], kms["vault"].kept[token][1])
    envelopes = header_of(mine)[FIXED:]
    write_pages(path, {HEADER: header[:FIXED] + envelopes})
    assert type(opened(client)) is WrongKeyError
    write_pages(path, {HEADER: header[:48] + header_of(mine)[48:]})
    assert type(opened(client)) is IntegrityError
    before = bytes_of(folder)
    kms["vault"].trouble = outage
    assert type(opened(client)) is KeyManagerError
    assert bytes_of(folder) == before
