"""One index with pages of every kind, made once; each test gets a copy to harm."""

import shutil

import pytest
from support import read_pages
from verify_harness import NAME, file_of, fill


class Case:
    """A copy of the index: its folder and file, its pages, and what was written to it."""

    def __init__(self, folder, history, pages):
        self.folder, self.history, self.pages = folder, history, pages
        self.path = file_of(folder)


@pytest.fixture(scope="session")
def pattern(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pattern")
    history = fill(folder)
    return folder, history, read_pages(file_of(folder))


@pytest.fixture
def case(pattern, folder):
    source, history, pages = pattern
    folder.mkdir(mode=0o700)
    shutil.copyfile(file_of(source), file_of(folder))
    return Case(folder, history, pages)


@pytest.fixture
def name():
    return NAME
