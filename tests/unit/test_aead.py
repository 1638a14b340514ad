"""XAES-256-GCM: the published vectors, fresh nonces, and nothing that opens by accident."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from cyborg_embedded import aead
from cyborg_embedded.aead import NONCE_BYTES, OVERHEAD, Opener, Sealer, TagMismatchError

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "xaes-256-gcm.json").read_text("utf-8")
)
KEY = bytes(range(32))
AAD = b"a place"


class ScriptedRandom:
    """Hands out the halves of given nonces in place of the system's random bytes."""

    def __init__(self, stream):
        self.stream = stream
        self.at = 0

    def __call__(self, size):
        part = self.stream[self.at : self.at + size]
        self.at += size
        assert len(part) == size
        return part


def seal_with_nonce(key, nonce, plaintext, aad):
    sealed = Sealer(key, random=ScriptedRandom(nonce)).seal(plaintext, aad)
    assert sealed[:NONCE_BYTES] == nonce
    return sealed


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=["first", "second"])
def test_published_vectors(vector):
    """Both C2SP vectors seal to the published ciphertext and open again."""
    key, nonce, plaintext, aad, ciphertext = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "plaintext", "aad", "ciphertext")
    )
    sealed = seal_with_nonce(key, nonce, plaintext, aad)
    assert sealed[NONCE_BYTES:] == ciphertext
    assert Opener(key).open(memoryview(sealed), bytes(sealed[-16:]), aad) == plaintext


def test_accumulated_vector():
    """Ten thousand random cases give the hash that C2SP publishes, and all of them open."""
    case = VECTORS["accumulated"]
    longest = case["iterations"] * (32 + 24 + 2 * (1 + 255))
    stream = hashlib.shake_128(b"").digest(longest)
    at = 0

    def take(size):
        nonlocal at
        at += size
        return stream[at - size : at]

    result = hashlib.shake_128()
    for _ in range(case["iterations"]):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        aad = take(take(1)[0])
        sealed = seal_with_nonce(key, nonce, plaintext, aad)
        assert Opener(key).open(memoryview(sealed), bytes(sealed[-16:]), aad) == plaintext
        result.update(sealed[NONCE_BYTES:])
    assert result.hexdigest(32) == case["result"]


def test_nonce_halves():
    """A sealer draws one first half, and a fresh second half for every message."""
    sealer = Sealer(KEY)
    nonces = [bytes(sealer.seal(b"the same", AAD)[:NONCE_BYTES]) for _ in range(500)]
    assert len({nonce[:12] for nonce in nonces}) == 1
    assert len({nonce[12:] for nonce in nonces}) == 500


def test_sealers_share_no_first_half():
    """Every sealer draws a first half of its own, so transactions do not share derived keys."""
    firsts = {bytes(Sealer(KEY).seal(b"", b"")[:12]) for _ in range(200)}
    assert len(firsts) == 200


def test_random_bytes_come_from_the_system(monkeypatch):
    """Nonces are the operating system's random bytes by default."""
    assert Sealer.__init__.__kwdefaults__["random"] is os.urandom


def test_first_half_is_drawn_again_at_the_limit(monkeypatch):
    """After as many seals as one derived key allows, a new first half is drawn, and not before."""
    monkeypatch.setattr(aead, "SEALS_PER_DERIVED_KEY", 3)
    sealer = Sealer(KEY)
    sealed = [sealer.seal(b"x", AAD) for _ in range(7)]
    firsts = [bytes(message[:12]) for message in sealed]
    assert firsts[0] == firsts[1] == firsts[2]
    assert firsts[3] == firsts[4] == firsts[5]
    assert len(set(firsts)) == 3
    opener = Opener(KEY)
    assert all(
        opener.open(memoryview(message), bytes(message[-16:]), AAD) == b"x" for message in sealed
    )


def test_seals_per_derived_key_is_the_nist_bound():
    """At most 2^32 messages are sealed under one derived key (NIST SP 800-38D, 8.3)."""
    assert aead.SEALS_PER_DERIVED_KEY == 1 << 32


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, 33, 4096])
def test_round_trip(length):
    """Any plaintext opens to itself and is longer by exactly the overhead when sealed."""
    plaintext = os.urandom(length)
    sealed = Sealer(KEY).seal(plaintext, AAD)
    assert len(sealed) == length + OVERHEAD
    assert Opener(KEY).open(memoryview(sealed), bytes(sealed[-16:]), AAD) == plaintext
    out = bytearray(length)
    Opener(KEY).open_into(memoryview(sealed), bytes(sealed[-16:]), AAD, out)
    assert out == plaintext


def test_arrays_are_sealed_and_opened_in_place():
    """An array of any shape and type is sealed as its bytes and opened into another one."""
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    sealed = Sealer(KEY).seal(matrix, AAD)
    out = np.zeros((4, 3), np.float32)
    Opener(KEY).open_into(memoryview(sealed), bytes(sealed[-16:]), AAD, out)
    assert out.ravel().tolist() == matrix.ravel().tolist()


def open_both_ways(key, sealed, aad):
    """Whether the message is refused by both ways of opening it."""
    with pytest.raises(TagMismatchError):
        Opener(key).open(memoryview(sealed), bytes(sealed[-16:]), aad)
    with pytest.raises(TagMismatchError):
        Opener(key).open_into(
            memoryview(sealed), bytes(sealed[-16:]), aad, bytearray(max(len(sealed) - OVERHEAD, 0))
        )


def test_every_flipped_bit_is_noticed():
    """No single bit of nonce, ciphertext or tag can change without the message being refused."""
    sealed = Sealer(KEY).seal(b"some plaintext", AAD)
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        open_both_ways(KEY, flipped, AAD)


@pytest.mark.parametrize("aad", [b"", b"a placE", b"a place\x00", b"a plac"])
def test_another_aad_is_refused(aad):
    """A message opens only with the associated data that it was sealed with."""
    open_both_ways(KEY, Sealer(KEY).seal(b"some plaintext", AAD), aad)


def test_another_key_is_refused():
    """A message opens only with its key, whichever bit of it differs."""
    sealed = Sealer(KEY).seal(b"some plaintext", AAD)
    for bit in range(0, 256, 17):
        other = bytearray(KEY)
        other[bit // 8] ^= 1 << bit % 8
        open_both_ways(bytes(other), sealed, AAD)


def test_shorter_and_longer_messages_are_refused():
    """A message that was cut or grew, down to nothing, is refused, never another error."""
    sealed = Sealer(KEY).seal(b"some plaintext", AAD)
    for length in range(len(sealed)):
        open_both_ways(KEY, sealed[:length], AAD)
    open_both_ways(KEY, sealed + b"\x00", AAD)
    open_both_ways(KEY, b"\x00" + sealed, AAD)


@pytest.mark.parametrize("difference", [-14, -1, 1, 100])
def test_open_into_wants_the_exact_length(difference):
    """Opening into a buffer of another length than the plaintext is refused."""
    sealed = Sealer(KEY).seal(b"some plaintext", AAD)
    with pytest.raises(TagMismatchError):
        Opener(KEY).open_into(
            memoryview(sealed), bytes(sealed[-16:]), AAD, bytearray(14 + difference)
        )


def count_derivations(monkeypatch):
    derived = []
    derive = aead.derive

    def counted(key, first_half):
        derived.append(first_half)
        return derive(key, first_half)

    monkeypatch.setattr(aead, "derive", counted)
    return derived


def test_derived_keys_are_cached_and_bounded(monkeypatch):
    """A first half is derived once as long as the cache holds, which never outgrows its bound."""
    monkeypatch.setattr(aead, "CACHED_KEYS", 4)
    messages = [memoryview(Sealer(KEY).seal(b"x", AAD)) for _ in range(11)]
    derived = count_derivations(monkeypatch)
    opener = Opener(KEY)
    for _ in range(5):
        assert opener.open(messages[0], bytes(messages[0][-16:]), AAD) == b"x"
    assert len(derived) == 1
    for message in messages:
        assert opener.open(message, bytes(message[-16:]), AAD) == b"x"
        assert len(opener._derived) <= 4
    assert len(derived) == 11


def test_a_sealer_derives_once(monkeypatch):
    """Sealing many messages in one transaction derives one key."""
    derived = count_derivations(monkeypatch)
    sealer = Sealer(KEY)
    for _ in range(50):
        sealer.seal(b"x", AAD)
    assert len(derived) == 1
