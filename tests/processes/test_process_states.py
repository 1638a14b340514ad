"""One process writes, and others read: every answer is of one commit, none is behind what was
acknowledged, and a writer that is killed takes nothing along.
"""

import random
import time

import pytest
from numbered import ASK, NAME, Counter, items_of, opened, state_of
from support import KEY, check_items, wait_until

from cyborg_embedded import Client

READERS = 4


def live(others, place, counter, seconds, seed):
    """Readers for some seconds, and writers that are killed and take turns."""
    choose = random.Random(seed)
    acknowledged = Counter(counter)
    first = others("write", place, counter)
    wait_until(lambda: acknowledged.read() > 0)
    readers = [others("read", place, counter, seconds) for _ in range(READERS)]
    assert [reader.answer() for reader in readers] == ["ready"] * READERS
    until = time.monotonic() + seconds
    first.kill()
    killed = 1
    while time.monotonic() < until:
        before = acknowledged.read()
        writer = others("write", place, counter)
        wait_until(lambda before=before: acknowledged.read() > before)
        time.sleep(choose.uniform(0.05, 0.8))
        assert writer.child.poll() is None, writer.child.stderr.read()
        writer.kill()
        killed += 1
    ends = [reader.ended().split() for reader in readers]
    return killed, acknowledged.read(), ends


def check_end(place, acknowledged):
    """Assert that the index is in the last state that was acknowledged, or the one after it."""
    with opened(place) as index:
        state = state_of(index)
        assert state - acknowledged in (0, 1)
        check_items(index, items_of(state))
        assert index.verify().ok
        index.optimize()
        assert index.verify().ok


def test_readers_and_killed_writers(place, tmp_path, others):
    """For some seconds, with writers that are killed and started again."""
    killed, acknowledged, ends = live(others, place, tmp_path / "counter", 5, seed=1)
    assert killed >= 2
    assert acknowledged > 10
    for asked, low in ends:
        assert int(asked) >= len(ASK)
        assert int(low) > 0
    check_end(place, acknowledged)


@pytest.mark.slow
def test_readers_and_killed_writers_for_long(place, tmp_path, others):
    """For a minute."""
    seed = time.time_ns() % 1000
    killed, acknowledged, ends = live(others, place, tmp_path / "counter", 60, seed)
    assert killed >= 20, seed
    assert acknowledged > 500
    assert all(int(low) > acknowledged // 2 for _, low in ends)
    check_end(place, acknowledged)


def test_next_call_sees_it(place, others):
    """Once a writer has been told that a commit is made, the next call of every other process sees
    it, whichever call that is.
    """
    writer = others("write when told", place)
    readers = [others("read when told", place) for _ in range(READERS)]
    for turn in range(4 * len(ASK)):
        number = int(writer.does(""))
        assert number == turn + 1
        for shift, reader in enumerate(readers):
            seen = [int(state) for state in reader.does((turn + shift) % len(ASK)).split()]
            assert number in seen
            assert max(seen) <= number + 1
    with opened(place) as index:
        check_items(index, items_of(number))


def test_backup_while_others_write(place, tmp_path, others):
    """A backup that is made while another process writes is one commit, whole: what it holds is the
    state of its number.
    """
    others("write", place, tmp_path / "counter")
    client, acknowledged, states = Client(tmp_path / "restored"), Counter(tmp_path / "counter"), []
    deadline = time.monotonic() + 30
    with opened(place, read_only=True) as index:
        while len(states) < 8:
            before = acknowledged.read()
            index.backup(tmp_path / f"backup {before}", check=len(states) % 2 == 0)
            after = acknowledged.read()
            name = f"restored {before}"
            client.restore_index(name, tmp_path / f"backup {before}", index_key=KEY)
            with client.load_index(name, index_key=KEY, indexing="manual") as restored:
                assert before <= state_of(restored) <= after + 1
                check_items(restored, items_of(state_of(restored)))
                assert restored.verify().ok
                states.append(state_of(restored))
            while acknowledged.read() == before:
                assert time.monotonic() < deadline
                time.sleep(0.001)
    assert states == sorted(set(states))
    assert NAME in Client(place).list_indexes()
