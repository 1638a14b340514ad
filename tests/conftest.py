"""Fixtures that every suite may use. What they share beside fixtures is in `support.py`."""

import pytest
from leakguard import LeakGuard
from support import KEY

from cyborg_embedded import Client

GUARD = LeakGuard().install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test in whose run a key shows in an error or a log record has failed."""
    result = yield
    GUARD.check()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """So has one in whose teardown it does, or in a test that has failed for another reason."""
    result = yield
    GUARD.check()
    return result


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
