"""A call that is interrupted from the keyboard, at any moment, has happened as a whole or not at all;
the handle can be used, and closed; and nothing is left: no lock, no descriptor, no file.
"""

import os
import shutil
import threading

import numpy as np
import pytest
from fault_harness import DIMENSION, LEFT, NAME, OTHER, Place, check_closed, check_handle, opened
from interrupter import Interrupter
from support import KEY, contents_of

from cyborg_embedded import ClosedError
from cyborg_embedded.registry import registry

PATIENCE = 10
"""Seconds after which a call is taken to wait for ever."""
ENOUGH = 20
"""Moments at which it goes wrong that are told, each of which may take its time."""
ROWS = np.random.default_rng(5).normal(size=(20, DIMENSION))


class Scene:
    """A fresh copy of an index, in which one call is made."""

    def __init__(self, place):
        self.place = place
        self.client = place.client()
        self.folder = self.client._folder.path
        self.handles = []

    def open(self):
        """A handle of the index."""
        index = self.client.load_index(NAME, index_key=KEY, indexing="manual")
        self.handles.append(index)
        return index

    def new(self):
        """A handle of an index that is made."""
        self.handles.append(self.client.create_index("third", index_key=KEY, indexing="manual"))


def upsert(index):
    names = [f"new {n}" for n in range(15)] + [f"i{n}" for n in range(1, 6)]
    index.upsert(names, ROWS, [{"n": n} for n in range(20)], [b"x" * 4000] * 20)


CALLS = {
    "upsert": upsert,
    "delete": lambda index: index.delete([f"i{n}" for n in range(1, 30)]),
    "optimize": lambda index: index.optimize(),
    "compact": lambda index: index.compact(),
    "rekey": lambda index: index.rekey(OTHER),
    "query": lambda index: index.query(ROWS[0], top_k=5, filters={"n": {"$lt": 20}}),
    "get": lambda index: index.get(["i1", "late"]),
    "close": lambda index: index.close(),
}
"""Calls on a handle."""
WITHOUT = {"load": Scene.open, "create": Scene.new}
"""Calls that give one."""


def patiently(work):
    """Do something in a thread of its own, which must not wait for ever. Returns what it gives."""
    given, failed = [], []

    def run():
        try:
            given.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        # So that others do not wait for it too.
        registry.lock, registry.files = threading.Lock(), {}
        raise AssertionError("a call waits for ever")
    if failed:
        raise failed[0]
    return given[0]


def attempt(place, name, at=None):
    """Make a call, interrupted at a moment if one is given: (how many moments it has, the content
    after it, whether it was interrupted).
    """
    error = KeyboardInterrupt("injected")
    interrupter = Interrupter(at, error)
    scene = Scene(place)
    try:
        interrupted = patiently(lambda: interrupter.call(prepared(scene, name)))
        cleaning = bool(interrupter.within & {"remove_files", "creating"})
        content = patiently(lambda: check_scene(scene, cleaning=cleaning))
    except BaseException as wrong:
        raise AssertionError(f"{name} at {at}: {interrupter.where}") from wrong
    scene.client.close()
    shutil.rmtree(scene.folder)
    return interrupter.count, content, interrupted


def prepared(scene, name):
    """A call that is ready to be made."""
    if name in WITHOUT:
        return lambda: WITHOUT[name](scene)
    index = scene.open()
    index.query(ROWS[0], filters={"n": 3})
    return lambda: CALLS[name](index)


def check_scene(scene, *, cleaning):
    """See that all handles work or are closed, that nothing is open once they are, and that all is
    well in the folder. Returns what the index holds. What was interrupted while it was `cleaning` up
    may leave a file, which goes with the next creation.
    """
    seen = [check_handle(index, None) for index in scene.handles if index.name == NAME]
    for index in scene.handles:
        index.close()
        with pytest.raises(ClosedError):
            len(index)
    check_closed(scene.client)
    with opened(scene.client) as again:
        assert again.verify().ok
        content = [item for item in contents_of(again) if item["id"] != "probe"]
    assert all(each in (None, content) for each in seen)
    if "third" in scene.client.list_indexes():
        with scene.client.load_index("third", index_key=KEY) as third:
            assert third.verify().ok
        scene.client.delete_index("third", index_key=KEY)
    if cleaning:
        scene.client.create_index("another", index_key=KEY).close()
        scene.client.delete_index("another", index_key=KEY)
    assert set(os.listdir(scene.folder)) <= LEFT
    return content


def interrupt_everywhere(place, name, moments):
    """Interrupt a call at some of its moments."""
    count, after, _ = attempt(place, name)
    stopped = 0
    wrong = []
    for at in moments(count):
        try:
            _, content, interrupted = attempt(place, name, at)
            assert content in (place.before, after), f"{at}: neither before nor after"
            assert interrupted or content == after, f"{at}: nothing said, nothing done"
            stopped += interrupted
        except AssertionError as error:
            wrong.append(f"{error} ({error.__cause__})")
            if len(wrong) == ENOUGH:
                break
    assert not wrong, f"{len(wrong)} of {count} moments:\n" + "\n".join(wrong)
    assert stopped


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("interrupts"))


@pytest.mark.parametrize("name", [*CALLS, *WITHOUT])
def test_interrupts(place, name):
    """A few moments, spread over the whole call."""
    interrupt_everywhere(place, name, lambda count: range(count // 8, count, count // 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CALLS, *WITHOUT])
def test_interrupts_everywhere(place, name):
    """Every moment of a call."""
    interrupt_everywhere(place, name, lambda count: range(1, count + 1))
