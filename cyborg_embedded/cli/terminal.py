"""What passes between the command and whoever runs it: lines, secrets, and the word of a person.

Results go to standard output, everything else to standard error. A secret is typed on the terminal
itself, without echo; where there is no terminal, nobody is asked.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import sys
import unicodedata
import warnings
from typing import TYPE_CHECKING

from cyborg_embedded.errors import InvalidInputError

if TYPE_CHECKING:
    from typing import TextIO

__all__ = [
    "OUTPUT",
    "PROGRAM",
    "ask_line",
    "ask_secret",
    "ask_secret_twice",
    "complain",
    "drop_output",
    "finish_output",
    "output",
    "say",
]

PROGRAM = "cyborg-embedded"
OUTPUT = "standard output"


def output() -> TextIO:
    """Standard output. Raises `OSError` where the command was started without one."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), OUTPUT)
    return sys.stdout


def say(line: str) -> None:
    """A line of standard output."""
    write(output(), line + "\n")


def complain(line: str) -> None:
    """A line of standard error, if there is anybody to read it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        write(sys.stderr, f"{PROGRAM}: {line}\n")
        sys.stderr.flush()


def write(stream: TextIO, text: str) -> None:
    """Write a text, with escapes for what the encoding of the stream does not have."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def finish_output() -> None:
    """Write what standard output still holds. Raises `OSError`."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_output() -> None:
    """Let what standard output cannot get rid of go nowhere: its reader has gone, or its disk is
    full, and Python must not try again when it ends.
    """
    try:
        finish_output()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def ask_secret(prompt: str) -> str:
    """What is typed, unseen. Raises `InvalidInputError` where there is no terminal, or nothing is
    typed.
    """
    with warnings.catch_warnings():
        # What getpass does without a terminal is to read standard input, and to show what it reads.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            secret = getpass.getpass(prompt + ": ")
        except getpass.GetPassWarning:
            message = "there is no terminal to ask for a secret on"
            raise InvalidInputError(message) from None
        except EOFError:
            secret = ""
        except UnicodeDecodeError:
            message = "what was typed is not text"
            raise InvalidInputError(message) from None
    if not secret:
        message = "nothing was typed"
        raise InvalidInputError(message)
    return secret


def ask_secret_twice(prompt: str) -> str:
    """What is typed, unseen, twice the same: for a secret that something is going to depend on.

    Raises `InvalidInputError`, also where the two differ.
    """
    secret = ask_secret(prompt)
    again = ask_secret(prompt + ", once more")
    if again != secret:
        message = "what was typed the second time is not the same"
        raise InvalidInputError(message)
    return secret


def ask_line(prompt: str) -> str | None:
    """A line that is typed at a terminal; None where standard input is none."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    write(sys.stderr, prompt + ": ")
    sys.stderr.flush()
    return unicodedata.normalize("NFC", sys.stdin.readline().rstrip("\r\n"))
