"""Fixtures that every suite may use. What they share beside fixtures is in `support.py`."""

import pytest
from support import KEY

from cyborg_embedded import Client


@pytest.fixture
def key():
    return KEY


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "indexes"


@pytest.fixture
def client(folder):
    with Client(folder) as client:
        yield client


@pytest.fixture
def index(client, key):
    with client.create_index("notes", index_key=key, dimension=4) as index:
        yield index
