"""A call that was to open an index, and failed, has nothing open."""

import pytest
from fault_harness import NAME, Place, close_all
from injector import ERRORS, Injector
from support import KEY

from cyborg_embedded import columnset


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_inline_indexing_on_opening(place, monkeypatch, number):
    """An index that is to be indexed as it is opened, and cannot be, is closed again."""
    client = place.client()
    monkeypatch.setattr(columnset, "UNSAVED_PAGES", 1)
    error = ERRORS[number]()
    with Injector("put").active(monkeypatch, 2, error), pytest.raises((type(error), OSError)):
        client.load_index(NAME, index_key=KEY, indexing="inline")
    assert not close_all()
