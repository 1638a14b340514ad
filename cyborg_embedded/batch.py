"""What a user hands to `upsert` and `query`, checked and encoded before anything is locked.

Whatever is wrong anywhere in a batch is an `InvalidInputError` that names the item and the reason,
never the value; nothing has been written then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.distance import TRUSTED_SQUARE
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import MAX_DIMENSION
from cyborg_embedded.payloads import encode_ids, encode_payloads
from cyborg_embedded.precision import decode, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.items import Payload
    from cyborg_embedded.model import Metric, Precision

    Vectors = NDArray[np.float32]

__all__ = [
    "Batch",
    "as_queries",
    "batch_from_arrays",
    "batch_from_items",
    "check_count",
    "check_dimension",
    "check_effort",
    "check_ids",
    "check_queries",
    "check_storable",
    "check_vectors",
]

FIELDS = frozenset({"id", "vector", "metadata", "contents"})
MAX_SQUARED_NORM = np.float32(2.0**125)
"""So that the squared distance between any two vectors stays a finite float32."""


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """Items ready to be written: distinct ids (n), vectors (n, dimension), payloads (n)."""

    ids: list[bytes]
    vectors: Vectors
    payloads: list[Payload]

    def __len__(self) -> int:
        return len(self.ids)


def batch_from_items(items: object) -> Batch:
    """The batch in a list of dicts with `id`, `vector`, and maybe `metadata` and `contents`."""
    if isinstance(items, (Mapping, str, bytes)) or not isinstance(items, Iterable):
        message = "items must be a list of dicts, each with an id and a vector"
        raise InvalidInputError(message)
    given: list[Mapping[str, Any]] = []
    vectors: list[Vectors] = []
    for position, item in enumerate(items):
        if not isinstance(item, Mapping):
            message = f"must be a dict, not {type(item).__name__}"
            raise InvalidInputError(message, item=position)
        if not item.keys() <= FIELDS:
            message = f"has an unknown field; known are {', '.join(sorted(FIELDS))}"
            raise InvalidInputError(message, item=position)
        missing = {"id", "vector"} - item.keys()
        if missing:
            message = f"has no {' and no '.join(sorted(missing))}"
            raise InvalidInputError(message, item=position)
        given.append(item)
        vector = as_floats(item["vector"], position)
        if vector.ndim != 1 or (vectors and vector.shape != vectors[0].shape):
            message = "has a vector of another shape than the items before it"
            raise InvalidInputError(message, item=position)
        vectors.append(vector)
    ids = [item["id"] for item in given]
    metadata, contents = ([item.get(name) for item in given] for name in ("metadata", "contents"))
    matrix = np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
    payloads = encode_payloads(metadata, contents)
    return last_of_equal_ids(Batch(encode_ids(ids), matrix, payloads))


def batch_from_arrays(ids: object, vectors: object, metadata: object, contents: object) -> Batch:
    """The batch in parallel sequences; `vectors` is (n, dimension)."""
    id_list = as_list(ids, "ids", None)
    matrix = as_floats(vectors, None)
    if not id_list and not matrix.size:
        matrix = np.empty((0, 0), np.float32)
    if matrix.ndim != 2 or len(matrix) != len(id_list):
        message = "vectors must be two-dimensional, with one row for each id"
        raise InvalidInputError(message)
    metadata_list = as_list(metadata, "metadata", len(id_list))
    contents_list = as_list(contents, "contents", len(id_list))
    payloads = encode_payloads(metadata_list, contents_list)
    return last_of_equal_ids(Batch(encode_ids(id_list), matrix, payloads))


def as_list(value: object, name: str, length: int | None) -> list[Any]:
    """A sequence argument as a list; None stands for `length` times None."""
    if value is None and length is not None:
        return [None] * length
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        message = f"{name} must be a sequence with one entry for each item"
        raise InvalidInputError(message)
    if length is not None and len(value) != length:
        message = f"{name} has {len(value)} entries for {length} items"
        raise InvalidInputError(message)
    return list(value)


def last_of_equal_ids(batch: Batch) -> Batch:
    """The batch without items whose id occurs again later in it."""
    last = {item_id: position for position, item_id in enumerate(batch.ids)}
    if len(last) == len(batch):
        return batch
    keep = sorted(last.values())
    return Batch(
        [batch.ids[position] for position in keep],
        batch.vectors[keep],
        [batch.payloads[position] for position in keep],
    )


def check_ids(ids: object) -> list[bytes]:
    """A sequence of ids, encoded."""
    return encode_ids(as_list(ids, "ids", None))


def as_floats(value: object, position: int | None) -> Vectors:
    """Numbers as float32, contiguous. Too large for float32 becomes infinity, refused later."""
    try:
        given = np.asarray(value)
    except ValueError:
        given = np.empty(0, np.object_)
    if given.dtype.kind not in "fiu":
        message = "vectors must be real numbers, all of one length"
        raise InvalidInputError(message, item=position)
    # A copy: the caller's array may change between the check and the write.
    if given.dtype == np.float32:
        return given.copy(order="C")
    with np.errstate(all="ignore"):
        return np.array(given, np.float32, order="C")


def check_dimension(vectors: Vectors, dimension: int) -> None:
    """Refuse vectors (n, d) of another dimension than the index has."""
    given = vectors.shape[1]
    if not 0 < given <= MAX_DIMENSION:
        message = f"a vector must have 1 to {MAX_DIMENSION} dimensions, not {given}"
        raise InvalidInputError(message)
    if given != dimension:
        message = f"the vector has dimension {given}, the index has {dimension}"
        raise InvalidInputError(message)


def check_vectors(vectors: Vectors, metric: Metric) -> None:
    """Refuse what distances cannot be computed with: NaN, infinity, a norm that overflows, and,
    under cosine, a norm of zero."""
    # Not `squared_norms`, which tells of what overflows.
    norms = np.einsum("ij,ij->i", vectors, vectors)
    # NaN compares as false, so this catches it too.
    if not norms.max(initial=0) <= MAX_SQUARED_NORM:
        message = "the vector holds NaN, infinity, or values whose squares overflow float32"
        raise InvalidInputError(message, item=int((norms <= MAX_SQUARED_NORM).argmin()))
    if metric == "cosine" and (norms == 0).any():
        suspects = np.flatnonzero(norms == 0)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors[suspects], vectors[suspects], dtype=float))
        zero = lengths.astype(np.float32) == 0
        if zero.any():
            message = "the vector has length zero, which has no direction under cosine"
            raise InvalidInputError(message, item=int(suspects[zero.argmax()]))


def check_storable(vectors: Vectors, metric: Metric, precision: Precision) -> None:
    """Refuse vectors that are not sound any more as they are stored."""
    if precision != "float32":
        check_vectors(decode(encode(vectors, precision), precision), metric)


def as_queries(vectors: object) -> tuple[Vectors, bool]:
    """Queries as (m, d) float32, and whether a single vector was given."""
    queries = as_floats(vectors, None)
    single = queries.ndim == 1
    if single:
        queries = queries[None, :]
    if queries.ndim != 2:
        message = "query_vectors must be one vector or a two-dimensional array of them"
        raise InvalidInputError(message)
    return queries, single


def check_queries(queries: Vectors, dimension: int, metric: Metric) -> None:
    """Refuse queries (m, d) that an index cannot answer. A `dimension` of 0 stands for any."""
    check_dimension(queries, dimension or queries.shape[1])
    if len(queries) == 1 and TRUSTED_SQUARE < np.vdot(queries, queries) < MAX_SQUARED_NORM:
        return  # the usual case, at a third of the price
    check_vectors(queries, metric)


def check_count(count: object, name: str, least: int = 1) -> int:
    """A whole number of at least so much."""
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
        message = f"{name} must be a whole number of at least {least}"
        raise InvalidInputError(message)
    return int(count)


def check_effort(ef: object, recall: object) -> tuple[int | None, float | None]:
    """The effort of a query: at most one of its two forms."""
    if ef is not None and recall is not None:
        message = "ef and recall exclude each other"
        raise InvalidInputError(message)
    if recall is None:
        return None if ef is None else check_count(ef, "ef"), None
    number = isinstance(recall, (int, float, np.integer, np.floating))
    share = float(recall) if number and not isinstance(recall, bool) else 0.0  # type: ignore[arg-type]
    if not 0 < share <= 1:
        message = "recall must be a number above 0, and 1 at most"
        raise InvalidInputError(message)
    return None, share
