"""What a schema says of fields, and what is none."""

import pytest

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import MAX_FIELD, MAX_HIDDEN
from cyborg_embedded.schema import described, hidden_fields

NO = {"filterable": False}


@pytest.mark.parametrize(
    ("schema", "hidden"),
    [
        (None, ()),
        ({}, ()),
        ({"a": {}}, ()),
        ({"a": {"filterable": True}}, ()),
        ({"a": NO}, ("a",)),
        ({"b": NO, "c": {}, "a": NO, "B": NO}, ("B", "a", "b")),
        ({"a.b": NO, "a": NO}, ("a", "a.b")),
        ({"a$": NO, " ": NO, ".": NO, "\U0001f600": NO}, (" ", ".", "a$", "\U0001f600")),
        ({"n" * MAX_FIELD: NO}, ("n" * MAX_FIELD,)),
    ],
)
def test_hidden_fields(schema, hidden):
    """Fields are filterable unless it is said that they are not; those come in order."""
    assert hidden_fields(schema) == hidden


@pytest.mark.parametrize("count", [MAX_HIDDEN - 1, MAX_HIDDEN, MAX_HIDDEN + 1])
def test_how_many(count):
    """So many fields may be hidden, and any number named that are not."""
    schema = {f"open {n}": {} for n in range(1000)} | {f"hidden {n}": NO for n in range(count)}
    if count > MAX_HIDDEN:
        with pytest.raises(InvalidInputError, match=str(MAX_HIDDEN)):
            hidden_fields(schema)
    else:
        assert len(hidden_fields(schema)) == count


@pytest.mark.parametrize(
    "schema",
    [
        *([], (), "a", 0, False, 1.5, {"a"}),
        *({name: NO} for name in ("", "$a", "$", "n" * (MAX_FIELD + 1), 1, None, b"a", ("a",))),
        *({name: {}} for name in ("", "$a", 1, "\ud800", "a\udfff")),
        *({"a": given} for given in (None, True, False, [], "filterable", {"filterable"})),
        *({"a": {"filterable": given}} for given in (None, 0, 1, "no", [])),
        *({"a": given} for given in ({"Filterable": True}, {"type": "text"}, NO | {"more": 1})),
    ],
)
def test_what_is_no_schema(schema):
    """Anything else is refused, be it that the field is hidden or not."""
    with pytest.raises(InvalidInputError, match="metadata_schema"):
        hidden_fields(schema)


def test_the_place_is_named():
    """The message names the field that is wrong."""
    with pytest.raises(InvalidInputError) as caught:
        hidden_fields({"good": NO, "it's": {"filterable": 0}})
    assert 'metadata_schema["it\'s"]' in str(caught.value)


def test_described():
    """What is described is a schema that hides the same fields."""
    hidden = hidden_fields({"b": NO, "a.c": NO, "d": {}})
    assert described(hidden) == {"a.c": NO, "b": NO}
    assert hidden_fields(described(hidden)) == hidden
    assert described(()) == {}
