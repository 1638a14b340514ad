"""What is put into an index, and what is asked of it, by Hypothesis."""

from hypothesis import strategies as st

DIMENSION = 3
NAMES = [f"item {number:02}" for number in range(90)]

names = st.sampled_from(NAMES[:24])
# A coarse lattice, so that equal vectors and equal distances are common. Never the zero vector,
# which has no direction.
vectors = st.lists(
    st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0]),
    min_size=DIMENSION,
    max_size=DIMENSION,
).filter(any)
counts = st.sampled_from([1, 2, 3, 5, 9, 50, 1000])

# Few values, so that filters often hit; some beyond what columns keep of a text.
texts = st.sampled_from(["", "a", "ab", "b", "ключ", "t" * 64, "t" * 65]) | st.text(max_size=3)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.0]) | texts
fields = st.sampled_from(["a", "b", "ключ"])
values = st.one_of(
    scalars,
    scalars,
    st.lists(scalars, max_size=2),
    st.dictionaries(st.just("b"), scalars, max_size=1),
    # What columns do not tell whole.
    st.sampled_from([["a"], {"b": 1}, "t" * 65]),
)
metadata = st.none() | st.dictionaries(fields, values | st.just("m" * 700), max_size=3)
contents = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(["long " * 150, b"\x00\xff" * 400, "x" * 512, b"y" * 513]),
)
items = st.fixed_dictionaries(
    {"id": names, "vector": vectors, "metadata": metadata, "contents": contents}
)
batches = st.lists(items, max_size=6)
doomed = st.lists(st.sampled_from(NAMES), max_size=20)
changes = st.tuples(st.just("upsert"), batches) | st.tuples(st.just("delete"), doomed)

operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), values),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-5, 5) | texts),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(values, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$size"), st.integers(0, 3)),
    st.tuples(st.just("$startsWith"), texts),
    st.tuples(st.just("$regex"), st.sampled_from(["a", "^t+$", "[^a]", "ю"])),
    st.tuples(st.just("$elemMatch"), st.builds(lambda value: {"$gte": value}, st.integers(-5, 5))),
)
conditions = values | st.lists(operators, min_size=1, max_size=2).map(dict)
paths = st.sampled_from(["a", "b", "a.b", "ключ", "missing"])
filters = st.recursive(
    st.dictionaries(paths, conditions, max_size=2),
    lambda inner: st.one_of(
        st.builds(
            lambda name, parts: {name: parts},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, max_size=2),
        ),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=3,
)
