"""Envelopes: what goes through unchanged, the bounds, and hostile bytes in a header."""

import datetime as dt
import pickle
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.envelopes import (
    MAX_ENVELOPES,
    MAX_ENVELOPES_BYTES,
    Envelope,
    check_slot,
    decode_envelopes,
    encode_envelopes,
)
from cyborg_embedded.errors import FormatError, InvalidInputError

pack = msgspec.msgpack.encode

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=64)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
PARAMETER = st.one_of(st.integers(0, 1 << 32), TEXT, st.binary(max_size=256))
ENVELOPE = st.builds(
    Envelope,
    WORD,
    st.one_of(st.binary(min_size=1, max_size=300), st.just(bytes(8192))),
    st.dictionaries(WORD, PARAMETER, max_size=16),
)


@given(st.dictionaries(PRINTABLE, ENVELOPE, max_size=MAX_ENVELOPES))
def test_round_trip(envelopes):
    """Envelopes come back as they were, in their order, with the same types."""
    decoded = decode_envelopes(encode_envelopes(envelopes))
    assert decoded == envelopes
    assert list(decoded) == list(envelopes)
    for slot, envelope in envelopes.items():
        assert list(decoded[slot].parameters) == list(envelope.parameters)
        for name, value in envelope.parameters.items():
            assert type(decoded[slot].parameters[name]) is type(value)


def test_none_at_all():
    """No envelopes are no bytes."""
    assert encode_envelopes({}) == b""
    assert decode_envelopes(b"") == {}


def test_encoding():
    """The bytes are those of the MessagePack map that they are said to be."""
    envelopes = {"b": Envelope("p", b"c", {"n": 5}), "a": Envelope("q", b"d")}
    plain = {
        "b": {"provider": "p", "ciphertext": b"c", "parameters": {"n": 5}},
        "a": {"provider": "q", "ciphertext": b"d", "parameters": {}},
    }
    assert encode_envelopes(envelopes) == pack(plain)


def small(**changes):
    return {"s": {"provider": "p", "ciphertext": b"c", "parameters": {}, **changes}}


def parameter(value):
    return small(parameters={"k": value})


IN_BOUNDS = {
    "provider": small(provider="x" * 64),
    "wide provider": small(provider="\U0001f511" * 64),
    "ciphertext": small(ciphertext=bytes(8192)),
    "parameters": small(parameters={str(n): n for n in range(16)}),
    "name": small(parameters={"x" * 64: 1}),
    "number": parameter(1 << 32),
    "zero": parameter(0),
    "text": parameter("x" * 256),
    "no text": parameter(""),
    "bytes": parameter(bytes(256)),
    "slot": {"x" * 64: small()["s"]},
    "slots": {str(n): small()["s"] for n in range(16)},
}
OUT_OF_BOUNDS = {
    "no provider": small(provider=""),
    "provider": small(provider="x" * 65),
    "no ciphertext": small(ciphertext=b""),
    "ciphertext": small(ciphertext=bytes(8193)),
    "text for ciphertext": small(ciphertext="Yw=="),
    "bytes for provider": small(provider=b"p"),
    "parameters": small(parameters={str(n): n for n in range(17)}),
    "list for parameters": small(parameters=[]),
    "name": small(parameters={"x" * 65: 1}),
    "no name": small(parameters={"": 1}),
    "number for name": small(parameters={1: 1}),
    "number": parameter((1 << 32) + 1),
    "large number": parameter((1 << 64) - 1),
    "negative": parameter(-1),
    "float": parameter(1.0),
    "true": parameter(True),  # noqa: FBT003
    "nil": parameter(None),
    "list": parameter([1]),
    "map": parameter({"a": 1}),
    "time": parameter(dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)),
    "extension": parameter(msgspec.msgpack.Ext(5, b"x")),
    "text": parameter("x" * 257),
    "bytes": parameter(bytes(257)),
    "no slot": {"": small()["s"]},
    "slot": {"x" * 65: small()["s"]},
    "slot of control characters": {"a\nb": small()["s"]},
    "number for slot": {1: small()["s"]},
    "slots": {str(n): small()["s"] for n in range(17)},
    "no envelopes": {},
    "list for all": [small()["s"]],
    "nil for all": None,
    "nil for envelope": {"s": None},
    "more": small(more=1),
}


@pytest.mark.parametrize("value", IN_BOUNDS.values(), ids=IN_BOUNDS)
def test_at_the_bounds(value):
    """What is just allowed is read, and written again as the same bytes."""
    data = pack(value)
    assert encode_envelopes(decode_envelopes(data)) == data


@pytest.mark.parametrize("value", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_beyond_the_bounds(value):
    """What is too much, too little, or of another type is FormatError."""
    with pytest.raises(FormatError):
        decode_envelopes(pack(value))


@pytest.mark.parametrize("name", ["provider", "ciphertext", "parameters"])
def test_fields_are_all_there(name):
    """An envelope without one of its fields is FormatError, one that could be empty too."""
    value = small()
    del value["s"][name]
    with pytest.raises(FormatError):
        decode_envelopes(pack(value))


LARGE = {f"{n:02}" + "\U0001f511" * 62: "\U0001f511" * 256 for n in range(16)}
"""As many bytes as fit within the bounds of one envelope's parameters; 16 of them are too many."""


@pytest.mark.parametrize(
    "envelopes",
    [
        {"": Envelope("p", b"c")},
        {"x" * 65: Envelope("p", b"c")},
        {"s\n": Envelope("p", b"c")},
        {"s": Envelope("", b"c")},
        {"s": Envelope("x" * 65, b"c")},
        {"s": Envelope("\ud800", b"c")},
        {"s": Envelope("p", b"")},
        {"s": Envelope("p", bytes(8193))},
        {"s": Envelope("p", "text")},
        {"s": Envelope(5, b"c")},
        {"s": Envelope("p", b"c", {str(n): n for n in range(17)})},
        {"s": Envelope("p", b"c", {"": 1})},
        {"s": Envelope("p", b"c", {5: 1})},
        {"s": Envelope("p", b"c", {"\ud800": 1})},
        {"s": "no envelope"},
        {"s": None},
        {str(n): Envelope("p", b"c") for n in range(17)},
        {str(n): Envelope("p", bytes(8192), LARGE) for n in range(16)},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_no_manager_may_give(envelopes):
    """What could not be read again is InvalidInputError when it is to be written."""
    with pytest.raises(InvalidInputError):
        encode_envelopes(envelopes)


@pytest.mark.parametrize(
    "value", [-1, (1 << 32) + 1, True, None, 1.0, "x" * 257, bytes(257), [], {}]
)
def test_parameters_that_no_envelope_takes(value):
    """An envelope is not even made with a parameter of another type, or too large a one."""
    with pytest.raises(ValueError, match="parameter") as caught:
        Envelope("p", b"c", {"k": value})
    assert "xxx" not in str(caught.value)


# Bytes that nobody's encoder makes.

HEAD = b"\x81\xa1s\x83\xa8provider\xa1p\xaaciphertext\xc4\x01c\xaaparameters"
"""One slot and all of its envelope but the value of the parameters."""
PLAIN = b"\x83\xa8provider\xa1p\xaaciphertext\xc4\x01c\xaaparameters\x80"


def test_the_pieces_are_right():
    """What the cases below are made of is accepted where nothing is wrong with it."""
    assert decode_envelopes(HEAD + b"\x80") == decode_envelopes(b"\x81\xa1s" + PLAIN)
    assert decode_envelopes(HEAD + b"\x82\xa1a\x01\xa1b\x02")["s"].parameters == {"a": 1, "b": 2}


TWICE = {
    "slot": b"\x82\xa1s" + PLAIN + b"\xa1s" + PLAIN,
    "field": b"\x81\xa1s\x84\xa8provider\xa1p" + PLAIN[1:],
    "parameter": HEAD + b"\x82\xa1a\x01\xa1a\x01",
    "parameter of another value": HEAD + b"\x82\xa1a\x01\xa1a\x02",
}
LONGER = {
    "outer map of 16 bits": b"\xde\x00\x01\xa1s" + PLAIN,
    "outer map of 32 bits": b"\xdf\x00\x00\x00\x01\xa1s" + PLAIN,
    "slot of 8 bits": b"\x81\xd9\x01s" + PLAIN,
    "slot of 32 bits": b"\x81\xdb\x00\x00\x00\x01s" + PLAIN,
    "map of 16 bits": b"\x81\xa1s\xde\x00\x03" + PLAIN[1:],
    "parameters of 16 bits": HEAD + b"\xde\x00\x00",
    "number of 8 bits": HEAD + b"\x81\xa1a\xcc\x01",
    "number of 64 bits": HEAD + b"\x81\xa1a\xcf\x00\x00\x00\x00\x00\x00\x00\x01",
    "signed number": HEAD + b"\x81\xa1a\xd0\x01",
    "bytes of 16 bits": HEAD + b"\x81\xa1a\xc5\x00\x01x",
    "text of 8 bits": HEAD + b"\x81\xa1a\xd9\x01x",
    "other order": b"\x81\xa1s\x83\xaaciphertext\xc4\x01c\xa8provider\xa1p\xaaparameters\x80",
    "array for envelope": b"\x81\xa1s\x93\xa1p\xc4\x01c\x80",
    "byte behind": HEAD + b"\x80\x00",
    "another behind": (HEAD + b"\x80") * 2,
}
HUGE = {
    "slots": b"\xdf\xff\xff\xff\xff",
    "slot": b"\x81\xdb\xff\xff\xff\xff",
    "fields": b"\x81\xa1s\xdf\xff\xff\xff\xff",
    "ciphertext": b"\x81\xa1s\x83\xa8provider\xa1p\xaaciphertext\xc6\xff\xff\xff\xff",
    "unknown field": b"\x81\xa1s\x81\xa1x\xdd\xff\xff\xff\xff",
    "parameters": HEAD + b"\xdf\xff\xff\xff\xff",
    "parameter array": HEAD + b"\x81\xa1k\xdd\xff\xff\xff\xff",
    "parameter map": HEAD + b"\x81\xa1k\xdf\xff\xff\xff\xff",
    "parameter bytes": HEAD + b"\x81\xa1k\xc6\xff\xff\xff\xff",
    "parameter text": HEAD + b"\x81\xa1k\xdb\xff\xff\xff\xff",
    "parameter extension": HEAD + b"\x81\xa1k\xc9\xff\xff\xff\xff\x05",
    "deep arrays": HEAD + b"\x81\xa1k" + b"\x91" * 200_000 + b"\xc0",
    "deep maps": HEAD + b"\x81\xa1k" + b"\x81\xa1k" * 80_000 + b"\xc0",
    "deep keys": HEAD + b"\x81\xa1k" + b"\x81" * 200_000,
    "wide array": HEAD + b"\x81\xa1k\xdd\x00\x03\xd0\x90" + b"\x90" * 250_000,
    "too long": HEAD + b"\x81\xa1k\xc6\x00\x04\x00\x00" + bytes(1 << 18),
}
MALFORMED = {
    "no code": b"\xc1",
    "bad text": HEAD + b"\x81\xa1k\xa1\xff",
    "surrogate": HEAD + b"\x81\xa1k\xa3\xed\xa0\x80",
    "map for key": HEAD + b"\x81\xa1k\x81\x80\x01",
    "list of map for key": HEAD + b"\x81\xa1k\x81\x91\x80\x01",
    "bad time": HEAD + b"\x81\xa1k\xd7\xff" + b"\xff" * 8,
}


@pytest.mark.parametrize("data", TWICE.values(), ids=TWICE)
def test_nothing_is_there_twice(data):
    """A slot, field or parameter that is there twice is FormatError: which one counts is open."""
    with pytest.raises(FormatError):
        decode_envelopes(data)


@pytest.mark.parametrize("data", LONGER.values(), ids=LONGER)
def test_there_is_one_encoding(data):
    """Another encoding of what would be acceptable is FormatError."""
    with pytest.raises(FormatError):
        decode_envelopes(data)


@pytest.mark.parametrize("data", (HUGE | MALFORMED).values(), ids=HUGE | MALFORMED)
def test_claims_allocate_nothing(data):
    """Lengths that are claimed, and nesting, cost no memory beyond a few times the bytes there."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode_envelopes(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000 + 100 * len(data)


def test_length_is_looked_at_first(monkeypatch):
    """More bytes than envelopes may have are not even parsed."""
    with pytest.raises(FormatError):
        decode_envelopes(HEAD + b"\x80" + bytes(MAX_ENVELOPES_BYTES))
    monkeypatch.setattr("cyborg_embedded.envelopes.decoder", None)
    with pytest.raises(FormatError):
        decode_envelopes(bytes(MAX_ENVELOPES_BYTES + 1))


NESTED = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(),
        TEXT,
        st.binary(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
NEARLY = st.dictionaries(
    st.text(max_size=3),
    st.fixed_dictionaries(
        {"provider": TEXT | NESTED, "ciphertext": st.binary() | NESTED},
        optional={"parameters": st.dictionaries(TEXT, NESTED | PARAMETER, max_size=4), "x": NESTED},
    ),
    max_size=3,
)


def accept_or_refuse(data):
    """Bytes are envelopes, and then those bytes and no others, or they are FormatError."""
    try:
        envelopes = decode_envelopes(data)
    except FormatError:
        return
    assert encode_envelopes(envelopes) == data
    for slot, envelope in envelopes.items():
        assert check_slot(slot) == slot
        assert 1 <= len(envelope.provider) <= 64
        assert 1 <= len(envelope.ciphertext) <= 8192
        assert len(envelope.parameters) <= 16
        for name, value in envelope.parameters.items():
            assert 1 <= len(name) <= 64
            assert 0 <= value <= 1 << 32 if type(value) is int else len(value) <= 256


@given(NEARLY.map(pack) | NESTED.map(pack) | st.binary(max_size=200))
def test_hostile_messages(data):
    """MessagePack of any shape, and bytes that are none, do nothing worse than FormatError."""
    accept_or_refuse(data)


@given(st.data())
def test_damaged_envelopes(data):
    """Sound bytes with some of them changed, cut out or put in do nothing worse either."""
    sound = encode_envelopes(
        data.draw(st.dictionaries(PRINTABLE, ENVELOPE, min_size=1, max_size=2))
    )
    start = data.draw(st.integers(0, len(sound)))
    end = min(len(sound), start + data.draw(st.integers(0, 4)))
    accept_or_refuse(sound[:start] + data.draw(st.binary(max_size=6)) + sound[end:])


@pytest.mark.parametrize("slot", ["a", "x" * 64, "prod 1/\u00e9\U0001f511"])
def test_slots(slot):
    """1 to 64 printable characters are the name of a slot."""
    assert check_slot(slot) == slot


@pytest.mark.parametrize(
    "slot", ["", "x" * 65, "a\n", "\0", "\ud800", "\u200b", None, 5, b"a", ["a"]], ids=ascii
)
def test_what_is_no_slot(slot):
    """Anything else is InvalidInputError."""
    with pytest.raises(InvalidInputError, match="1 to 64 printable characters"):
        check_slot(slot)


def test_they_show_their_provider_alone():
    """The repr has neither ciphertext nor parameters, and errors quote no bytes."""
    assert repr(Envelope("p", b"hidden", {"k": "hidden"})) == "<Envelope 'p'>"
    with pytest.raises(FormatError) as caught:
        decode_envelopes(pack(small(ciphertext=b"", parameters={"hidden": "hidden"})))
    assert "hidden" not in repr(caught.value)


def test_they_are_plain_values():
    """An envelope is no secret: it is compared by value, and can be pickled."""
    envelope = Envelope("p", b"c", {"k": 1})
    assert envelope == Envelope("p", b"c", {"k": 1})
    assert envelope != Envelope("p", b"c", {"k": 2})
    assert pickle.loads(pickle.dumps(envelope)) == envelope  # noqa: S301
