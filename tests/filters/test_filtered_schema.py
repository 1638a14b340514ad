"""Fields that are not to be filtered by: stored, returned, refused in filters, and in no column."""

import pytest
from filter_harness import QUERY, D, vectors
from support import KEY

from cyborg_embedded import InvalidInputError
from cyborg_embedded.model import PageKind

NAMES = [f"item {n:02}" for n in range(40)]
SECRET = "not for columns"
BODY = {"text": SECRET, "parts": [{"x": SECRET}, 7]}
REFUSED = [
    *({"body": value} for value in (SECRET, BODY, None, {"$exists": True}, {"$ne": 1})),
    {"body.text": SECRET},
    {"body.parts.x": {"$gt": "a"}},
    {"n": 1, "body": 1},
    {"$and": [{"n": 1}, {"body": 1}]},
    {"$or": [{"n": 1}, {"$and": [{"body.text": 1}]}]},
    {"$nor": [{"body": 1}]},
    {"$not": {"body": 1}},
    {"$not": {"$or": [{"n": 1}, {"body.parts": {"$size": 2}}]}},
    {"body": {"$elemMatch": {"$eq": 1}}},
    {"people": {"$elemMatch": {"name": SECRET}}},
    {"people": {"$elemMatch": {"$or": [{"age": 1}, {"name": SECRET}]}}},
    {"people": {"$elemMatch": {"age": 1, "name.first": 1}}},
    {"people.name": SECRET},
]
SCHEMA = {
    "body": {"filterable": False},
    "people.name": {"filterable": False},
    "n": {"filterable": True},
    "other": {},
}
DESCRIBED = [
    {"n": n, "body": BODY, "people": [{"name": SECRET, "age": n}], "bodyguard": "in columns"}
    for n in range(40)
]


def hidden_index(client):
    """An index of 40 items with two fields that are not filterable."""
    index = client.create_index(
        "hidden", index_key=KEY, dimension=D, metadata_schema=SCHEMA, indexing="manual"
    )
    index.upsert(NAMES, vectors(40), DESCRIBED)
    return index


@pytest.fixture(params=["written", "reopened"])
def hidden(request, client):
    """That index, as it was made or opened again."""
    index = hidden_index(client)
    if request.param == "reopened":
        index.optimize()
        index.close()
        index = client.load_index("hidden", index_key=KEY, indexing="manual")
    with index:
        yield index


def test_what_is_not_filterable_is_stored(hidden):
    """A field that is not filterable comes back like any other, and the others can be asked for."""
    results = hidden.query(QUERY, top_k=40, filters={"n": {"$lt": 5}})
    assert sorted(result["metadata"]["n"] for result in results) == list(range(5))
    assert all(result["metadata"]["body"] == BODY for result in results)
    assert [item["metadata"] for item in hidden.get(NAMES)] == DESCRIBED
    assert hidden.count({"people.age": {"$gte": 20}}) == 20
    assert hidden.count({"bodyguard": "in columns"}) == 40
    assert hidden.count({"people": {"$elemMatch": {"age": 3}}}) == 1
    ordered = hidden.query_metadata(order_by="n", ascending=False)
    assert [item["metadata"] for item in ordered] == DESCRIBED[::-1]
    assert hidden.describe()["metadata_schema"] == {
        "body": {"filterable": False},
        "people.name": {"filterable": False},
    }


@pytest.mark.parametrize("filters", REFUSED)
def test_what_is_not_filterable_is_refused(hidden, filters):
    """A filter that names such a field, or one inside it, anywhere, is refused by every call."""
    sequence = hidden.sequence
    for call in (
        lambda: hidden.query(QUERY, filters=filters),
        lambda: hidden.query_arrays(QUERY, filters=filters),
        lambda: hidden.query_metadata(filters),
        lambda: hidden.count(filters),
        lambda: hidden.list_ids(filters),
        lambda: hidden.delete(filters=filters),
    ):
        with pytest.raises(InvalidInputError, match="not filterable") as caught:
            call()
        assert SECRET not in str(caught.value)
    assert (hidden.sequence, len(hidden)) == (sequence, 40)


@pytest.mark.parametrize("field", ["body", "body.text", "body.parts.x", "people.name"])
def test_what_is_not_filterable_gives_no_order(hidden, field):
    """Nor can items be ordered by it, be there any or not."""
    for filters in (None, {"n": -1}):
        with pytest.raises(InvalidInputError, match="not filterable"):
            hidden.query_metadata(filters, order_by=field)


def test_what_is_not_filterable_is_in_no_column(client):
    """Its values are in no page of the columns, where those of other fields are."""
    with hidden_index(client) as index:
        index.optimize()
        index.upsert(NAMES[:1], vectors(1), DESCRIBED[:1])
        index.optimize()
        with index._session.read() as (_, view):
            pages = range(view.snapshot.pages(PageKind.COLUMNS))
            plaintext = b"".join(view.open(PageKind.COLUMNS, page) for page in pages)
        assert b"in columns" in plaintext
        assert b"people.age" in plaintext
        for absent in (SECRET.encode(), b"body.", b"people.name"):
            assert absent not in plaintext


@pytest.mark.parametrize(
    "schema",
    [
        *([], "body", 1, True, [("body", {"filterable": False})]),
        *({"body": given} for given in (None, False, True, "no", [], {"filterable": None})),
        *({"body": {"filterable": given}} for given in (0, 1, "False", [])),
        {"body": {"filterable": False, "type": "text"}},
        {"body": {"filtrable": False}},
        *({name: {"filterable": False}} for name in ("", "$body", 1, None, b"body", "\ud800")),
        {"n" * 1025: {"filterable": False}},
        {"n": {"filterable": False}, "m": 1},
        {f"n{number}": {"filterable": False} for number in range(257)},
    ],
)
def test_bad_schemas_make_no_index(client, schema):
    """A schema that is none is refused before anything is made."""
    with pytest.raises(InvalidInputError, match="metadata_schema"):
        client.create_index("a", index_key=KEY, metadata_schema=schema)
    assert client.list_indexes() == []


def test_a_key_with_a_dot_hides_with_its_field(client):
    """What a path leads to is hidden also where the path, or a part of it, is one key."""
    schema = {"body": {"filterable": False}, "a.b": {"filterable": False}}
    with client.create_index("dotted", index_key=KEY, dimension=D, metadata_schema=schema) as index:
        items = [
            {"body.text": SECRET, "a": {"b.c": SECRET}, "n": 1},
            {"a.b": {"c": SECRET}, "a.bc": 2},
        ]
        index.upsert(NAMES[:2], vectors(2), items)
        assert index.count({"n": 1}) == 1
        assert set(index._session.columns.known.by_path) == {"a", "n", "a.bc"}
