"""What `multiprocessing` makes of handles and clients: `children_worker.py <folder> <method>`.

It is a program, since with `spawn` each child imports it anew.
"""

import multiprocessing
import sys
import warnings

from support import KEY

from cyborg_embedded import Client, ClosedError, CyborgError

# A child of a test that has threads is forked on purpose.
warnings.simplefilter("ignore", DeprecationWarning)
INHERITED = []


def ask(index):
    """What came of a question, as a word."""
    try:
        index.list_ids()
    except CyborgError as error:
        return type(error).__name__
    return "answered"


def ask_the_inherited(_):
    return ask(*INHERITED) if INHERITED else "nothing"


def close_the_inherited(_):
    """Close what came along, which is no harm to anybody."""
    [index] = INHERITED
    index.close()
    return ask(index)


def open_and_write(job):
    """A handle of one's own, opened in the child."""
    folder, number = job
    with Client(folder).load_index("notes", index_key=KEY, lock_timeout=60) as own:
        own.upsert([f"item {number}"], [[1.0, number]])
        return own.get([f"item {number}"])[0]["id"]


def refused(start):
    """The message of the TypeError that something raises."""
    try:
        start()
    except TypeError as error:
        return str(error)
    return "nothing was raised"


def use(folder, method):
    context = multiprocessing.get_context(method)
    client = Client(folder)
    with client.create_index("notes", index_key=KEY, dimension=2) as index:
        index.upsert(["mine"], [[1.0, 2.0]])
        INHERITED.append(index)
        with context.Pool(2) as pool:
            assert set(pool.map(ask_the_inherited, range(4))) == {
                "ClosedError" if method == "fork" else "nothing"
            }
            if method == "fork":
                assert set(pool.map(close_the_inherited, range(4))) == {"ClosedError"}
            for thing in (index, client):
                assert "cannot be pickled" in refused(lambda thing=thing: pool.apply(ask, (thing,)))
            jobs = [(folder, number) for number in range(8)]
            assert pool.map(open_and_write, jobs) == [f"item {number}" for _, number in jobs]
            pool.close()
            pool.join()
        child = context.Process(target=sys.exit, args=(index,))
        if method == "fork":
            # Nothing is pickled: the child has the handle, and it is closed.
            child = context.Process(target=ends_well, args=(index,))
            child.start()
            child.join()
            assert child.exitcode == 0
        else:
            assert "cannot be pickled" in refused(child.start)
        # The parent goes on.
        assert sorted(index.list_ids()) == [*(f"item {number}" for number in range(8)), "mine"]
        index.upsert(["more"], [[3.0, 4.0]])
        assert index.verify().ok
    try:
        index.list_ids()
    except ClosedError:
        print("fine")


def ends_well(index):
    """End as a child does whose handle is closed, and which then ends as programs do."""
    sys.exit(ask(index) != "ClosedError")


if __name__ == "__main__":
    use(*sys.argv[1:])
