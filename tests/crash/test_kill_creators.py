"""A process that is killed while it makes or deletes indexes leaves none that is half made."""

import os

import pytest
from crash_harness import Killer, seeded
from support import KEY

from cyborg_embedded import Client

CONTENTS = ["text", "x" * 5000]


class Comings:
    """A folder in which indexes are made and deleted until somebody is killed at it."""

    def __init__(self, folder):
        self.folder = folder
        self.number = 0
        self.struck = set()

    def round(self, killer):
        """Let one more process make and delete indexes, kill it, and look at what there is."""
        done = {kind: set() for kind in ("create", "fill", "remove")}
        said = killer.run_and_kill("come and go", self.folder, self.number)
        begun = [(int(number), kind) for word, number, kind, *_ in said if word == "begin"]
        for _, (number, kind) in zip(
            [step for step in said if step[0] == "end"], begun, strict=False
        ):
            done[kind].add(f"index {number}")
        self.number = begun[-1][0] + 1
        under_way = begun[-1][1] if said[-1][0] == "begin" else None
        self.struck.add(under_way)
        last = f"index {begun[-1][0]}"
        with Client(self.folder) as client:
            listed = set(client.list_indexes())
            wanted = done["create"] - done["remove"]
            # What was under way has happened, or it has not.
            assert listed ^ wanted <= ({last} if under_way in {"create", "remove"} else set())
            for name in listed:
                self.check_one(client, name, done["fill"])
            self.check_cleared(client, listed)

    def check_one(self, client, name, filled):
        """An index that is listed is whole."""
        with client.load_index(name, index_key=KEY) as index:
            ids = index.list_ids()
            assert ids == ["a", "b"] or (ids == [] and name not in filled)
            assert [item["contents"] for item in index.get(ids)] == CONTENTS[: len(ids)]
            report = index.verify()
            assert report.ok, report

    def check_cleared(self, client, listed):
        """What the killed one has left does not stop anybody, and is cleared away."""
        client.create_index("after", index_key=KEY).close()
        assert not [file for file in os.listdir(self.folder) if file.startswith(".new-")]
        client.delete_index("after", index_key=KEY)
        for name in listed:
            client.delete_index(name, index_key=KEY)
        assert client.list_indexes() == []
        assert not [file for file in os.listdir(self.folder) if file.endswith(".cyb")]


def killed(folder, rounds):
    """Rounds in one folder; which steps were struck."""
    with seeded() as rng, Killer(rng) as killer:
        comings = Comings(folder)
        for _ in range(rounds):
            comings.round(killer)
    return comings.struck


def test_killed_creators(tmp_path):
    """After a kill during create_index or delete_index no half-made index is left."""
    killed(tmp_path, 10)


@pytest.mark.slow
def test_killed_creators_again_and_again(tmp_path):
    """So it is after many kills, at each of the steps."""
    assert killed(tmp_path, 150) >= {"create", "fill", "remove"}
