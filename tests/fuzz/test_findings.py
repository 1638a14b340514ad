"""What fuzzing has found."""

import struct

import pytest
from targets import links, metadata, search

from cyborg_embedded import IntegrityError


def test_deep_metadata():
    """Metadata that is nested beyond all measure is damaged, whoever has written it."""
    for levels in (1000, 100_000):
        with pytest.raises(IntegrityError):
            metadata(b'{"a": [' * levels + b"1" + b"]}" * levels)


def test_a_graph_that_was_built_too_narrowly():
    """A graph whose ef_construction is below its M is refused before hnswlib sees it."""
    head = struct.pack("<6I", 1, 1, 2, 1, 0, 0)
    data = head + struct.pack("<I", 0) + bytes(4) + bytes(4 * 5)
    with pytest.raises(IntegrityError):
        search(links.decode(data, 1))
