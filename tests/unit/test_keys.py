"""The key tree against independent implementations, and what counts as an index key."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded import keys
from cyborg_embedded.errors import InvalidInputError, KeyRequiredError, WrongKeyError
from cyborg_embedded.keys import (
    BLINDED_BYTES,
    blind,
    derive_keys,
    generate_index_key,
    parse_index_key,
    sha256,
    unlock,
    wipe,
    wiped,
)

# RFC 5869, appendix A.1 to A.3: ikm, salt, info, prk, okm.
RFC_5869 = {
    "basic": (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "longer": (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    "no salt, no info": (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


@pytest.mark.parametrize("case", RFC_5869.values(), ids=RFC_5869.keys())
def test_hkdf_vectors(case, monkeypatch):
    """HKDF gives the first 32 bytes of the OKM of RFC 5869, and so does what checks it here, by way
    of the PRK.
    """
    ikm, salt, info, prk, okm = map(bytes.fromhex, case)
    assert mac(salt, ikm) == prk
    assert mac(prk, info + b"\x01") == okm[:32]
    monkeypatch.setattr(keys, "INFO", b"")
    assert keys.hkdf(ikm, salt, info) == okm[:32]
    assert keys.hkdf(bytearray(ikm), salt, info) == okm[:32]


def expand(prk, label):
    """HKDF-Expand to one block, which is what 32 bytes are."""
    return mac(prk, b"cyborg-embedded/v1/" + label + b"\x01")


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_key_tree(index_key, salt):
    """Every working key and the verifier are what hmac and hashlib give for the formulas."""
    prk = mac(salt, index_key)
    derived = derive_keys(index_key, salt)
    assert derived.pages == expand(prk, b"pages")
    assert derived.ids == expand(prk, b"ids")
    assert derived.verifier == hashlib.sha256(expand(prk, b"verifier")).digest()


def test_salts_separate_indexes():
    """One index key under two salts gives keys that have nothing in common."""
    first, second = derive_keys(bytes(32), bytes(32)), derive_keys(bytes(32), b"\x01" * 32)
    both = [first.pages, first.ids, first.verifier, second.pages, second.ids, second.verifier]
    assert len(set(map(bytes, both))) == 6


def test_derived_keys_never_print():
    """The repr of working keys shows none of them."""
    derived = derive_keys(bytes(32), bytes(32))
    shown = repr(derived) + str(derived)
    for secret in (derived.pages, derived.ids, derived.verifier):
        assert repr(bytes(secret)) not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize(
    "given_key",
    [
        bytes(range(32)),
        bytearray(range(32)),
        bytes(range(32)).hex(),
        bytes(range(32)).hex().upper(),
        "000102030405060708090A0b0C0d0E0f101112131415161718191a1b1c1d1e1f",
    ],
    ids=["bytes", "bytearray", "lower hex", "upper hex", "mixed hex"],
)
def test_keys_that_are_accepted(given_key):
    """32 bytes and 64 hex characters of either case are the same key, and what is parsed is a copy
    that can be wiped.
    """
    parsed = parse_index_key(given_key)
    assert type(parsed) is bytearray
    assert parsed == bytes(range(32))
    wipe(parsed)
    assert parsed == bytes(32)
    assert parse_index_key(given_key) == bytes(range(32))


@pytest.mark.parametrize(
    "given_key",
    [
        b"",
        bytes(31),
        bytes(33),
        bytes(64),
        bytearray(31),
        "",
        "00" * 31,
        "00" * 33,
        "0" * 63,
        "0" * 65,
        "0g" * 32,
        " " + "0" * 63,
        "0" * 63 + "\n",
        "00 " * 21 + "0",
        "0x" + "0" * 62,
        "０" * 64,  # noqa: RUF001 - digits, but not ASCII
        memoryview(bytes(32)),
        list(range(32)),
        0,
        32,
        True,
        object(),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:6]}",
)
def test_keys_that_are_refused(given_key):
    """Whatever is not 32 bytes or 64 hex characters is InvalidInputError, without its value."""
    with pytest.raises(InvalidInputError) as caught:
        parse_index_key(given_key)
    if isinstance(given_key, (str, bytes)) and len(given_key) > 8:
        assert str(given_key) not in str(caught.value)


def test_no_key_is_its_own_error():
    """None is KeyRequiredError: a key is missing, not malformed."""
    with pytest.raises(KeyRequiredError):
        parse_index_key(None)


def test_unlock():
    """The right key unlocks to the derived keys; any other key is WrongKeyError."""
    salt = bytes(range(32))
    derived = derive_keys(bytes(32), salt)
    assert unlock(bytes(32), salt, derived.verifier) == derived
    for bit in range(0, 256, 31):
        other = bytearray(32)
        other[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongKeyError):
            unlock(bytes(other), salt, derived.verifier)
    with pytest.raises(WrongKeyError):
        unlock(bytes(32), bytes(32), derived.verifier)
    with pytest.raises(WrongKeyError):
        unlock(bytes(32), salt, derived.verifier[:-1])


def test_wrong_key_error_holds_no_key():
    """The error for a wrong key, with its whole chain, mentions no key and no verifier."""
    salt, key = bytes(32), bytes(range(32))
    with pytest.raises(WrongKeyError) as caught:
        unlock(key, salt, bytes(32))
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert key.hex() not in repr(error)
    assert repr(key) not in repr(error)


@pytest.mark.parametrize("equal", [True, False])
def test_verifier_is_compared_in_constant_time(monkeypatch, equal):
    """hmac.compare_digest, and nothing else, decides whether the verifiers are equal."""
    compared = []

    def compare_digest(left, right):
        compared.append({left, right})
        return equal

    monkeypatch.setattr(keys.hmac, "compare_digest", compare_digest)
    salt, verifier = bytes(32), bytes(32)
    derived = derive_keys(bytes(32), salt)
    if equal:
        assert unlock(bytes(32), salt, verifier) == derived
    else:
        with pytest.raises(WrongKeyError):
            unlock(bytes(32), salt, derived.verifier)
    assert compared == [{derived.verifier, verifier if equal else derived.verifier}]


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=1, max_size=1024)))
def test_blinding(key, ids):
    """A blinded id is the first 16 bytes of its HMAC-SHA-256, in the order of the ids."""
    expected = b"".join(mac(key, item_id)[:BLINDED_BYTES] for item_id in ids)
    assert blind(key, ids) == expected


@given(st.binary(max_size=300))
def test_sha256(data):
    """sha256 is SHA-256."""
    assert sha256(data) == hashlib.sha256(data).digest()


def test_generated_keys():
    """Generated keys are 32 bytes each, can be wiped, and are never the same."""
    made = [generate_index_key() for _ in range(100)]
    assert {type(key) for key in made} == {bytearray}
    assert len(set(map(bytes, made))) == 100
    assert {len(key) for key in made} == {32}


def test_wiping():
    """Wiped keys are zeros in place, also when the block that used them fails."""
    key, derived = generate_index_key(), derive_keys(bytes(32), bytes(32))
    same = memoryview(key)
    with pytest.raises(RuntimeError), wiped(key) as given_key:
        assert given_key is key
        assert any(key)
        raise RuntimeError
    assert same == bytes(32)
    derived.wipe()
    assert (derived.pages, derived.ids) == (bytes(32), bytes(32))


def test_a_wrong_key_leaves_no_working_keys(monkeypatch):
    """The working keys that were derived from a wrong key are wiped before it is refused."""
    made = []

    def recording(*arguments):
        made.append(derive_keys(*arguments))
        return made[-1]

    monkeypatch.setattr(keys, "derive_keys", recording)
    with pytest.raises(WrongKeyError):
        unlock(bytes(32), bytes(32), bytes(32))
    assert [(each.pages, each.ids) for each in made] == [(bytes(32), bytes(32))]
