"""A process that is killed at any moment loses nothing that it had been told was written."""

import os
import random
import subprocess
import time

import pytest
from crash_worker import DIMENSION, apply, operation
from support import KEY, check_items, check_query, make_index, python

from cyborg_embedded import Client

WORKER = os.path.join(os.path.dirname(__file__), "crash_worker.py")


def run_and_kill(rng, *arguments):
    """Run the worker, kill it at a random moment, and return the lines that it acknowledged."""
    with python(WORKER, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        lines = []
        for _ in range(rng.choice([1, 2, 5, 15, 30])):
            line = child.stdout.readline()
            if not line:
                break
            lines.append(line)
        time.sleep(rng.random() * rng.choice([0.0005, 0.005, 0.05]))
        alive = child.poll() is None
        child.kill()
        out, err = child.stdout.read(), child.stderr.read()
    assert alive, err
    # A line that was cut by the kill acknowledges nothing.
    lines += [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
    assert not err, err
    return [line.strip() for line in lines]


def holds(index, items):
    """Whether an index holds exactly these items, by their ids and the operation they are from."""
    got = {item["id"]: item["metadata"] for item in index.get(index.list_ids())}
    return got == {name: metadata for name, (_, metadata, _) in items.items()}


def change_and_kill(folder, rng):
    """Kill one writer after another on one index; each finds what the one before has left."""
    seed, number, items = rng.randrange(1 << 30), 0, {}
    make_index(folder, "notes", KEY, dimension=DIMENSION, page_size=rng.choice([512, 4096, 32_752]))
    for _ in range(3):
        acknowledged = run_and_kill(rng, "change", folder, seed, number)
        for line in acknowledged:
            assert int(line) == number
            items = apply(items, *operation(seed, number))
            number += 1
        with Client(folder) as client, client.load_index("notes", index_key=KEY) as index:
            # The operation that was not acknowledged is there as a whole, or not at all.
            more = apply(items, *operation(seed, number))
            if not holds(index, items):
                assert holds(index, more), f"seed {seed}, operation {number}"
                items = more
            check_items(index, items)
            for query in (np_row(rng) for _ in range(3)):
                for k in (3, 1000):
                    check_query(index.query(query, top_k=k), query, k, "euclidean", items)
            index.optimize()
            assert index.describe()["indexed_rows"] == len(items)
            check_items(index, items)
        assert set(os.listdir(folder)) <= {
            ".lock",
            "notes.cyb",
            "notes.cyb-lock",
            "notes.cyb-writer",
        }


def np_row(rng):
    """A random query."""
    return [rng.gauss(0, 1) for _ in range(DIMENSION)]


def come_and_go_and_kill(folder, rng):
    """Kill processes that make and delete indexes; what is listed is whole."""
    number = 0
    created, filled, deleted = set(), set(), set()
    for _ in range(3):
        steps = {"created": created, "filled": filled, "deleted": deleted}
        for line in run_and_kill(rng, "come_and_go", folder, 7, number):
            step, name = line.split(" ", 1)
            steps[step].add(name)
            number = max(number, int(name.split()[1]) + 1)
        with Client(folder) as client:
            listed = set(client.list_indexes())
            # One may have been deleted without having been acknowledged.
            assert len(created - deleted - listed) <= 1
            assert not listed & deleted
            # One more may have been made without having been acknowledged.
            assert len(listed - created) <= 1
            for name in sorted(listed):
                with client.load_index(name, index_key=KEY) as index:
                    ids = index.list_ids()
                    assert ids == ["a", "b"] or (ids == [] and name not in filled)
                    assert [item["contents"] for item in index.get(ids)][1:] in ([], ["x" * 5000])
            # What the killed process left does not stop anybody, and is cleared away.
            client.create_index("after", index_key=KEY).close()
            assert not [file for file in os.listdir(folder) if file.startswith(".new-")]
            client.delete_index("after", index_key=KEY)
            for name in listed:
                client.delete_index(name, index_key=KEY)
            assert client.list_indexes() == []
        deleted |= created | listed
        number += 1
        for file in os.listdir(folder):
            assert not file.endswith(".cyb")


def rounds(folder, count, work):
    """Run rounds of a scenario, each in a folder and with a seed of its own."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("random seed", seed)
    for number in range(count):
        work(os.path.join(folder, str(number)), random.Random(f"{seed} {number}"))


def test_killed_writers(tmp_path):
    """After a kill during upsert, delete or optimize every acknowledged call is there, whole."""
    rounds(tmp_path, 3, change_and_kill)


def test_killed_creators(tmp_path):
    """After a kill during create_index or delete_index no half-made index is left."""
    rounds(tmp_path, 2, come_and_go_and_kill)


@pytest.mark.slow
def test_killed_writers_again_and_again(tmp_path):
    """So it is after many kills of writers."""
    rounds(tmp_path, 50, change_and_kill)


@pytest.mark.slow
def test_killed_creators_again_and_again(tmp_path):
    """So it is after many kills of those who make and delete indexes."""
    rounds(tmp_path, 50, come_and_go_and_kill)
