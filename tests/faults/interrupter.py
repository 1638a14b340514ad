"""Interrupts a call at one of the moments at which CPython lets a signal handler run: when a Python
function begins or goes on, and when a function in C has returned.

The profiler tells of the same moments, so that each of them can be had again and again.
"""

import contextlib
import gc
import os
import sys
import threading

import cyborg_embedded

WITHIN = (os.path.dirname(cyborg_embedded.__file__), contextlib.__file__)
"""Code in which a call is interrupted: this library, and what its with blocks are made of."""
BLOCKS = {(threading.__file__, name) for name in ("__enter__", "__exit__")}
"""So are those of conditions; but not their waits, which do not stand it themselves."""
GIVEN = {os.open, threading.Lock().acquire}
NAMELESS = {(made.__name__, type(made.__self__)) for made in GIVEN}
"""What gives something that has no name yet: one instruction later it has one. No code in Python can
do anything about an interrupt between the two.
"""


def in_finalizer(frame):
    """Whether a frame is that of a finalizer, or of what it calls."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class Interrupter:
    """Counts the moments of a call, and raises an error at one of them."""

    def __init__(self, at=None, error=None):
        self.at, self.error = at, error
        self.count = 0
        self.where = None
        """The file, the line and the kind of moment that was interrupted."""
        self.within = set()
        """The names of the functions that were running then."""

    def _step(self, frame, event, argument):
        code = frame.f_code
        if event not in {"call", "c_return"} or in_finalizer(frame):
            return  # what is raised there is lost
        if code.co_name == "<genexpr>":
            return  # and so it is where it has begun and is not wanted any more
        if not code.co_filename.startswith(WITHIN) and (
            (code.co_filename, code.co_name) not in BLOCKS
        ):
            return
        if event == "c_return":
            name, owner = argument.__name__, type(getattr(argument, "__self__", None))
            if (name, owner) in NAMELESS:
                return
        self.count += 1
        if self.count == self.at:
            sys.setprofile(None)
            name = os.path.basename(code.co_filename)
            self.where = (name, frame.f_lineno, code.co_name, event)
            while frame is not None:
                self.within.add(frame.f_code.co_name)
                frame = frame.f_back
            raise self.error

    def call(self, work):
        """Call something, in this thread: whether it was interrupted. Nothing of it is kept."""
        sys.setprofile(self._step)
        try:
            work()
        except BaseException as raised:
            if raised is not self.error:
                raise
        else:
            return False
        finally:
            sys.setprofile(None)
        # Its traceback has what the call had in hand: a caller lets go of that.
        self.error.__traceback__ = self.error.__context__ = self.error.__cause__ = None
        gc.collect()
        return True
