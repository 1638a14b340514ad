"""The command `cyborg-embedded`, also `python -m cyborg_embedded`: indexes and their keys, from a
shell.

A command that succeeds says nothing but what it was asked for. One that fails says one line on
standard error, and its exit code says of what kind the failure is:

      0  done
      2  wrong usage, or bad input
      3  no such index, or what is to be made exists already
      4  wrong key, no key, or a key manager refused
      5  a key manager cannot be reached
      6  damaged, rolled back, or not an index
      7  locked by somebody else
      8  no room
      9  not allowed here, or read only
      1  anything else
    130  interrupted
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from cyborg_embedded.cli.arguments import parse
from cyborg_embedded.cli.commands import COMMANDS
from cyborg_embedded.cli.exits import exit_code, reason
from cyborg_embedded.cli.terminal import complain, drop_output, finish_output

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process by default; returns its exit code."""
    try:
        with contextlib.suppress(SystemExit):  # --help and --version
            options = parse(list(sys.argv[1:] if arguments is None else arguments))
            COMMANDS[options.command](options)
        finish_output()
    except BaseException as error:  # noqa: BLE001 - one line and an exit code, whatever it is
        # Whoever stops reading a list, as `head` does, need not be told.
        if not isinstance(error, BrokenPipeError) or error.filename is not None:
            complain(reason(error))
        drop_output()
        return exit_code(error)
    return 0
