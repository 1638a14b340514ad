"""The process beside that of the tests: it opens an index by its path, and does with it what it is
told; and it has children who die before they have closed theirs.
"""

import os
import signal
import socket
import sys
import time
import traceback
from functools import partial
from multiprocessing.connection import Connection

from support import python

from cyborg_embedded import Client
from cyborg_embedded.kms import KeyFile, Passphrase

SECONDS = 60
NAME = "notes"


def managers(folder):
    """Key managers that any process can ask, and that cost next to nothing."""
    words = Passphrase("correct horse", memory_kib=64, passes=1, lanes=1)
    return {"file": KeyFile(os.path.join(folder, "wrapping.key")), "words": words}


def open_index(folder, **options):
    """The index of a folder."""
    return Client(os.path.join(folder, "indexes"), kms=managers(folder)).load_index(NAME, **options)


# --- what the tests have of it --------------------------------------------------------------


class Process:
    """The other process, and the index that it has open, if any."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        with theirs:
            self.child = python(__file__, theirs.fileno(), pass_fds=[theirs.fileno()])
        self.pipe = Connection(ours.detach())

    def ask(self, call, *arguments, **options):
        """What a call returns there. It is one of `Worker`, or else of its index."""
        self.pipe.send((call, arguments, options))
        assert self.pipe.poll(SECONDS), f"{call} has not returned"
        failure, answer = self.pipe.recv()
        assert failure is None, f"in the other process:\n{failure}"
        return answer

    def end(self):
        """Let it end."""
        self.pipe.close()
        assert self.child.wait(SECONDS) == 0


class Remote:
    """An index that is open in the other process, with the calls of one that is open in this."""

    def __init__(self, process):
        self._process = process

    def __getattr__(self, call):
        return partial(self._process.ask, call)

    def __len__(self):
        return self._process.ask("__len__")

    @property
    def sequence(self):
        return self._process.ask("value", "sequence")

    @property
    def commit_id(self):
        return self._process.ask("value", "commit_id")


# --- what it does ---------------------------------------------------------------------------


class Worker:
    """Calls that are not those of an index."""

    def __init__(self):
        self.index = None

    def open(self, folder, **options):
        self.index = open_index(folder, **options)

    def close(self):
        if self.index is not None:
            self.index.close()
        self.index = None

    def value(self, name):
        return getattr(self.index, name)

    def crash(self, folder, options, acknowledged, begun, delay):
        """Have a child make some changes, and die without closing: of itself, or killed in the
        middle of one more change, if one is to be `begun`. Returns the last commit that it has
        acknowledged.
        """
        hear, tell = os.pipe()
        child = os.fork()
        if not child:
            die(folder, options, acknowledged, begun, tell)
        os.close(tell)
        with open(hear) as heard:
            said = [int(heard.readline()) for _ in acknowledged]
            if begun is not None:
                time.sleep(delay)
                os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return said[-1]


def die(folder, options, acknowledged, begun, tell):
    """The life of such a child."""
    try:
        index = open_index(folder, **options)
        for call, argument in acknowledged:
            getattr(index, call)(argument)
            os.write(tell, b"%d\n" % index.sequence)
        if begun is not None:
            call, argument = begun
            getattr(index, call)(argument)
            signal.pause()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def serve(pipe):
    """Answer calls until the tests end."""
    worker = Worker()
    while True:
        try:
            call, arguments, options = pipe.recv()
        except EOFError:
            worker.close()
            return
        try:
            asked = worker if hasattr(worker, call) else worker.index
            answer = None, getattr(asked, call)(*arguments, **options)
        except Exception:
            answer = traceback.format_exc(), None
        pipe.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
