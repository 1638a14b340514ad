"""What is kept of ids: the right ones, in whatever form they are kept, and only under the tags that
they were read under.
"""

import numpy as np
import pytest
from support import in_threads

from cyborg_embedded import itemcache
from cyborg_embedded.itemcache import LISTED_SHARE

ROWS = 2000


def put(index, first, count):
    names = [f"é{row}" for row in range(first, first + count)]
    index.upsert(names, np.eye(4, dtype=np.float32)[np.arange(count) % 4])
    return names


@pytest.fixture
def names(index):
    return put(index, 0, ROWS)


def ids_of(index, rows):
    with index._session.read() as (_, view):
        return index._session.items.ids(view, rows)


def test_kept_in_either_form(index, names):
    """The ids of rows are the same when they are asked for the first time and again, while few are
    known and when most of them are.
    """
    random = np.random.default_rng(5)
    forms = set()
    for _ in range(300):
        rows = random.integers(ROWS, size=random.integers(12)).tolist()
        for _ in range(2):
            assert ids_of(index, rows) == [names[row] for row in rows]
        forms.add(type(index._session.items._texts._texts))
    assert forms == {dict, list}
    assert ids_of(index, list(range(ROWS))) == names


def test_listed_when_many_are_known(index, names):
    """A list of all rows takes the place of the dict when one in so many is known."""
    few = ROWS // LISTED_SHARE
    ids_of(index, list(range(few)))
    assert type(index._session.items._texts._texts) is dict
    ids_of(index, [few, 0])
    assert type(index._session.items._texts._texts) is list
    assert ids_of(index, [0, few, ROWS - 1]) == [names[0], names[few], names[-1]]


def test_rows_of_a_later_commit(index, names):
    """They are there, whatever form the earlier ones are kept in."""
    ids_of(index, list(range(ROWS)))
    more = put(index, ROWS, 30)
    assert ids_of(index, [0, ROWS, ROWS + 29]) == [names[0], more[0], more[-1]]
    index.delete(names[:3])
    assert ids_of(index, [3, ROWS + 1]) == [names[3], more[1]]


def test_no_more_than_so_many_are_kept(index, names, monkeypatch):
    """Beyond that they are forgotten, and read again."""
    monkeypatch.setattr(itemcache, "MOST_IDS", 50)
    for first in range(0, 400, 20):
        rows = list(range(first, first + 20))
        assert ids_of(index, rows) == [names[row] for row in rows]
        assert len(index._session.items._texts) <= 50 + 20


def test_threads(index, names):
    """Threads that fill them together all get what they asked for."""
    wrong = []

    def ask(seed):
        random = np.random.default_rng(seed)
        for _ in range(60):
            rows = random.integers(ROWS, size=10).tolist()
            if ids_of(index, rows) != [names[row] for row in rows]:
                wrong.append(rows)

    in_threads(ask, range(4))
    assert wrong == []
