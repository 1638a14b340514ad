"""Processes take turns: who writes, who is in the way, and what the killed leave behind."""

import os
import threading
import time

import numpy as np
import pytest
from numbered import NAME, commit, items_of, opened
from support import KEY, check_items, wait_until

from cyborg_embedded import Client, LockedError, backups, environment


def test_writer_waits_no_longer_than_it_may(place, others):
    """A writer waits for another one up to lock_timeout; then LockedError names the other."""
    other = others("hold", place)
    assert other.answer() == "holding"
    with opened(place, lock_timeout=0.4) as index:
        start = time.monotonic()
        for write in (lambda: commit(index, 1), lambda: index.delete(["x"]), index.verify):
            with pytest.raises(LockedError) as caught:
                write()
            assert caught.value.pid == other.pid
        assert 1.2 <= time.monotonic() - start < 10
        # Who only reads waits for nobody.
        assert len(index) == 0
        assert index.query([1.0] * 6) == []


def test_writer_waits(place, others):
    """If the other one is done in time, it is its turn."""
    other = others("hold", place)
    assert other.answer() == "holding"
    with opened(place, lock_timeout=30) as index:
        timer = threading.Timer(0.4, other.finish)
        timer.start()
        commit(index, 1)
        timer.join()
        check_items(index, items_of(1))


def test_killed_writer_is_no_hindrance(place, others):
    """The lock of a process that is killed is free at once."""
    other = others("hold", place)
    assert other.answer() == "holding"
    other.kill()
    with opened(place, lock_timeout=0) as index:
        commit(index, 1)


@pytest.mark.slow
def test_killed_readers_take_no_places(place, others):
    """More readers are killed than there are places for; whoever opens the index finds one."""
    with opened(place) as index:
        commit(index, 1)
        count = environment.MAX_READERS + 20
        for other in [others("die reading", place, count // 2) for _ in range(2)]:
            assert other.answer() == "dead"
        check_items(index, items_of(1))
    with opened(place) as index:
        check_items(index, items_of(1))
        commit(index, 2)


def test_file_levels_off(place, others):
    """Handles that stay open, idle or at work, do not keep what is replaced: a file in which the
    same items are written again and again does not grow for ever.
    """
    path = place / f"{NAME}.cyb"
    sizes = []
    stop = threading.Event()
    with opened(place) as writer, opened(place, read_only=True) as own:
        commit(writer, 1)
        idle = others("read when told", place)
        asked = others("read when told", place)
        assert idle.does(0) == asked.does(0) == "1"
        vectors = np.array([item[0] for item in items_of(1).values()])

        def ask():
            while not stop.is_set():
                assert len(own.query([1.0] * 6, top_k=3, include=["contents"])) == 3
                asked.does(5 - 1)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for number in range(300):
                text = [f"{number:05}" * 1500] * len(vectors)
                writer.upsert(list(items_of(1)), vectors, None, text)
                sizes.append(path.stat().st_size)
        finally:
            stop.set()
            asking.join()
    # A call that takes long keeps what is replaced meanwhile; nothing is kept for ever.
    written = 300 * len(vectors) * 7500
    assert sizes[299] < written / 5


@pytest.mark.parametrize("turn", range(2))
def test_map_grows_across_processes(place, others, monkeypatch, turn):
    """Where the map is small at first, each process follows when the other makes the file greater,
    in the midst of reading.
    """
    size = 1 << 20
    monkeypatch.setattr(environment, "INITIAL_MAP_BYTES", size)
    other = others("small", place, size)
    stop, errors = threading.Event(), []
    with opened(place) as index:
        commit(index, 1)

        def ask():
            try:
                while not stop.is_set():
                    assert len(index.query([1.0] * 6, top_k=3, include=["contents"])) == 3
            except BaseException as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for number in range(3):
                name = f"x{number}"
                assert other.does(f"{name} {(number + 1) * size}") == str(3 + 2 * number)
                if turn:
                    assert len(index.get([name])[0]["contents"]) == 2 * (number + 1) * size
                index.upsert([f"y{number}"], [[1.0] * 6], None, ["y" * size])
        finally:
            stop.set()
            asking.join()
        assert not errors, errors
        assert len(index.get(["x0", "x1", "x2", "y0", "y1", "y2"])) == 6
        assert (place / f"{NAME}.cyb").stat().st_size > 8 * size
        assert index.verify().ok


def test_backup_while_a_thread_writes(place, tmp_path, monkeypatch):
    """A commit that is made while a copy lies there already is not in it."""
    real = backups.sync
    with opened(place) as index:
        commit(index, 1)

        def sync(path):
            if path.startswith(os.fspath(tmp_path / "backup.part")):
                thread = threading.Thread(target=commit, args=(index, 2))
                thread.start()
                thread.join()
            real(path)

        monkeypatch.setattr(backups, "sync", sync)
        index.backup(tmp_path / "backup")
        assert index.sequence == 3
    client = Client(tmp_path / "other")
    client.restore_index("copy", tmp_path / "backup", index_key=KEY)
    with client.load_index("copy", index_key=KEY) as copy:
        assert copy.sequence == 2
        check_items(copy, items_of(1))


def test_backup_beside_a_writing_thread(place, tmp_path):
    """Nor does a writer of this process, at work all the time, get in the way of a backup."""
    client, stop, done = Client(tmp_path / "other"), threading.Event(), []
    with opened(place) as index:

        def write():
            while not stop.is_set():
                commit(index, len(done) + 1)
                done.append(1)

        writing = threading.Thread(target=write)
        writing.start()
        try:
            for number in range(6):
                wait_until(lambda number=number: len(done) > 3 * number)
                before = len(done)
                index.backup(tmp_path / f"b{number}")
                after = len(done)
                client.restore_index(f"b{number}", tmp_path / f"b{number}", index_key=KEY)
                with client.load_index(f"b{number}", index_key=KEY, indexing="manual") as copy:
                    state = copy.sequence - 1
                    assert before <= state <= after + 1
                    check_items(copy, items_of(state))
        finally:
            stop.set()
            writing.join()
        assert index.verify().ok
