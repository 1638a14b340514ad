"""Everything at once: many threads query while one writes and the indexer works. Every answer has to
be that of one commit between the begin and the end of the call.
"""

import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from support import KEY, check_items

from cyborg_embedded import Client, background, building, indexer

IDS = 1800
SPREAD = 0.93 ** np.arange(64)
READERS = 8
NEVER = 1 << 60


@dataclass
class Version:
    """An item as it was from one commit on up to another."""

    number: int
    vector: np.ndarray
    first: int
    end: int = NEVER


@dataclass
class Model:
    """What the one writer has done. Its calls are numbered from 1; state n is that after call n."""

    dimension: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    done: int = 0
    live: list = field(default_factory=lambda: [0])
    versions: dict = field(default_factory=dict)

    def begin(self, upserted, deleted):
        """Note a call that is about to be made, `upserted` being ids with their vectors."""
        with self.lock:
            self.begun += 1
            live = self.live[-1]
            for item in [*upserted, *deleted]:
                known = self.versions.setdefault(item, [])
                if known and known[-1].end == NEVER:
                    known[-1].end = self.begun
                    live -= 1
            for item, (number, vector) in upserted.items():
                self.versions[item].append(Version(number, vector, self.begun))
            self.live.append(live + len(upserted))

    def end(self):
        with self.lock:
            self.done = self.begun

    def current(self, item):
        known = self.versions.get(item)
        return known[-1] if known and known[-1].end == NEVER else None

    def items(self):
        """What the index is to hold in the end."""
        names = [item for item in self.versions if self.current(item)]
        return {
            item: (version.vector, {"v": version.number}, f"{item} {version.number}")
            for item, version in ((item, self.current(item)) for item in names)
        }


def written(model, index, seed, until):
    """Upsert, update and delete at random until it is time."""
    choose, draw = random.Random(seed), np.random.default_rng(seed)
    number = 0
    while time.monotonic() < until:
        number += 1
        kind = choose.choices(["more", "same", "delete", "optimize"], [8, 2, 3, 0.2])[0]
        if kind == "optimize":
            index.optimize()
            continue
        names = [f"i{choose.randrange(IDS)}" for _ in range(choose.choice([1, 1, 2, 10, 60, 200]))]
        upserted = {}
        for item in dict.fromkeys(names) if kind != "delete" else ():
            known = model.current(item) if kind == "same" else None
            vector = draw.standard_normal(model.dimension) * SPREAD[: model.dimension]
            upserted[item] = (number, vector.astype(np.float32) if known is None else known.vector)
        model.begin(upserted, names[:40] if kind == "delete" else [])
        if kind == "delete":
            index.delete(names[:40])
        else:
            index.upsert(
                list(upserted),
                np.stack([vector for _, vector in upserted.values()]),
                [{"v": number}] * len(upserted),
                [f"{item} {number}" for item in upserted],
            )
        model.end()


def states(model, results, low, high):
    """The states from `low` to `high` of which all `results` (id, version number) are part."""
    for item, number in results:
        # The newest ones are those that are asked for.
        known = next(v for v in reversed(model.versions[item]) if v.number == number)
        low, high = max(low, known.first), min(high, known.end - 1)
    return range(low, high + 1)


def check_answer(model, results, query, k, low, high):
    """Assert that there is a state of which `results` may be the nearest k to `query`."""
    seen = [(result["id"], result["metadata"]["v"]) for result in results]
    assert len({item for item, _ in seen}) == len(seen)
    possible = states(model, seen, low, high)
    assert possible, "no one commit has had all of these"
    assert any(len(seen) == min(k, model.live[state]) for state in possible), "too many or too few"
    distances = [result["distance"] for result in results]
    assert distances == sorted(distances)
    for (item, number), distance in zip(seen, distances, strict=True):
        vector = next(v for v in model.versions[item] if v.number == number).vector
        assert abs(np.linalg.norm(vector.astype(float) - query) - distance) < 1e-3


@dataclass
class Reader:
    """One thread that asks, and what it has seen."""

    model: Model
    index: object
    seed: int
    asked: int = 0
    looked_for: int = 0
    missed: int = 0
    error: BaseException | None = None

    def run(self, until):
        choose = random.Random(self.seed)
        try:
            while time.monotonic() < until:
                self.asked += 1
                choose.choice([self.ask_one, self.ask_one, self.ask_many, self.get])(choose)
        except BaseException as error:
            self.error = error

    def target(self, choose):
        """An item that is there now, by chance, and a query that is next to it."""
        while True:
            version = self.model.current(item := f"i{choose.randrange(IDS)}")
            if version is not None:
                return item, version, version.vector + np.float32(1e-3)
            if not self.model.live[-1]:
                return item, None, np.ones(self.model.dimension, np.float32)

    def window(self, call):
        """What a call gives, and the first and last state that it may have seen."""
        low = self.model.done
        answer = call()
        with self.model.lock:
            return answer, low, self.model.begun

    def ask_one(self, choose):
        k = choose.choice([1, 3, 10, 10, 50, 400])
        target = self.target(choose)
        include = ["distance", "metadata"]
        answer, low, high = self.window(
            lambda: self.index.query(target[2], top_k=k, include=include)
        )
        check_answer(self.model, answer, target[2], k, low, high)
        self.look_for(target, answer, low, high)

    def ask_many(self, choose):
        k = choose.choice([1, 5, 10])
        targets = [self.target(choose) for _ in range(choose.choice([2, 9, 70]))]
        queries = np.stack([query for _, _, query in targets])
        include = ["distance", "metadata"]
        answers, low, high = self.window(
            lambda: self.index.query(queries, top_k=k, include=include)
        )
        everything = [(found["id"], found["metadata"]["v"]) for each in answers for found in each]
        assert states(self.model, everything, low, high), "a batch of several commits"
        for target, answer in zip(targets, answers, strict=True):
            check_answer(self.model, answer, target[2], k, low, high)
            self.look_for(target, answer, low, high)

    def look_for(self, target, answer, low, high):
        """Count whether an item that was there all the time is the nearest to itself."""
        item, version, _ = target
        if version is not None and version.first <= low and version.end > high:
            self.looked_for += 1
            self.missed += not answer or answer[0]["id"] != item

    def get(self, choose):
        names = list({f"i{choose.randrange(IDS)}" for _ in range(choose.choice([1, 5, 50]))})
        answer, low, high = self.window(lambda: self.index.get(names))
        seen = [(item["id"], item["metadata"]["v"]) for item in answer]
        possible = states(self.model, seen, low, high)
        assert possible, "no one commit has had all of these"
        missing = set(names) - {item for item, _ in seen}

        def none_of_them(state):
            known = [v for item in missing for v in list(self.model.versions.get(item, ()))]
            return not any(v.first <= state < v.end for v in known)

        assert any(none_of_them(state) for state in possible), "some of these were there"
        for item in answer:
            number = item["metadata"]["v"]
            version = next(v for v in self.model.versions[item["id"]] if v.number == number)
            assert (item["vector"] == version.vector).all()
            assert item["contents"] == f"{item['id']} {number}"


def check_whole(model, index):
    """Assert that an index holds what the model does, and finds it."""
    items = model.items()
    check_items(index, items)
    names = list(items)[::3]
    found, _ = index.query_arrays(np.stack([items[name][0] for name in names]), top_k=3)
    assert np.mean([ids[0] == name for ids, name in zip(found, names, strict=True)]) > 0.98
    assert all(set(ids) <= items.keys() for ids in found)


def stress(folder, seconds, dimension, seed):
    model, client = Model(dimension), Client(folder)
    index = client.create_index("notes", index_key=KEY)
    other = client.load_index("notes", index_key=KEY)
    until = time.monotonic() + seconds
    readers = [Reader(model, (index, other)[n % 2], seed + n) for n in range(READERS)]
    threads = [
        threading.Thread(target=reader.run, args=(until,), daemon=True) for reader in readers
    ]
    for thread in threads:
        thread.start()
    written(model, index, seed, until)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a reader hangs"
    for reader in readers:
        if reader.error is not None:
            raise reader.error
    missed, looked_for = (
        sum(getattr(reader, name) for reader in readers) for name in ("missed", "looked_for")
    )
    assert looked_for > 100
    assert missed <= 0.01 * looked_for
    assert index.is_trained(), "the indexer has not come to anything"
    for handle in (index, other):
        check_whole(model, handle)
    other.close()
    index.close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as again:
        check_whole(model, again)
        again.optimize()
        assert again.describe()["indexed_rows"] == len(again)
        check_whole(model, again)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """An indexer that is at work nearly all the time."""
    for name, value in (("FIRST_ROWS", 300), ("TAIL_ROWS", 20)):
        monkeypatch.setattr(indexer, name, value)
    for name, value in (("BLOCK_ROWS", 64), ("STEP_ROWS", 4)):
        monkeypatch.setattr(building, name, value)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(background, "POLL_SECONDS", 0.001)


def test_under_stress(tmp_path):
    """For some seconds, every answer is that of one commit, and nothing is lost."""
    stress(tmp_path, 5, 64, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [12, 64])
def test_under_stress_for_long(tmp_path, dimension):
    """So it is for a minute, with and without a projection."""
    stress(tmp_path, 60, dimension, seed=time.time_ns() % 1000)
