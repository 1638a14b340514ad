"""What the suites of the command line share: running it, in this process, in a child, and at a
terminal; and looking for secrets in all that it says.
"""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from support import KEY

from cyborg_embedded import Client
from cyborg_embedded.cli import main
from cyborg_embedded.kms import EnvironmentVariable, KeyFile

HEX = KEY.hex()
OTHER = bytes(range(150, 182))
SECRET = bytes(range(0xC0, 0xE0)).hex()
"""The wrapping key of the slot `variable`."""
PASSPHRASE = "six random words are plenty"
SCRIPT = Path(sys.executable).with_name("cyborg-embedded")
MODULE = (sys.executable, "-m", "cyborg_embedded")
TOML = f"""\
[file]
provider = "key-file"
path = "wrapping.key"

[variable]
provider = "environment-variable"
variable = "WRAPPING_KEY"

[known]
provider = "passphrase"
passphrase = "{PASSPHRASE}"
memory_kib = 64
passes = 1
lanes = 1

[person]
provider = "passphrase"
memory_kib = 64
passes = 1
lanes = 1
"""
SECRETS = (HEX, OTHER.hex(), SECRET, PASSPHRASE, "another passphrase")


def assert_untold(text):
    """No secret of these suites is in a text."""
    for secret in SECRETS:
        assert secret.casefold() not in text.casefold()


class Shell:
    """Runs commands in this process, in a folder with an index, keys and key managers."""

    def __init__(self, folder, capsys):
        self.folder = folder
        self.indexes = folder / "indexes"
        self.capsys = capsys
        self.err = ""

    def __call__(self, command, *arguments, code=0, key=None):
        """Run a command; its standard output. A command that fails says one line, one that does
        not says nothing, and no command tells a secret, but for the `key` that it was asked for.
        """
        assert main([command, *map(str, arguments)]) == code
        out, self.err = self.capsys.readouterr()
        if code:
            assert self.err.startswith("cyborg-embedded: ")
            assert self.err.endswith("\n")
            assert self.err.count("\n") == 1
        else:
            assert self.err == ""
        assert_untold(self.err)
        assert_untold(out.replace(key.hex() + "\n", "", 1) if key else out)
        return out

    def on(self, command, *arguments, **options):
        """Run a command on the index `notes`."""
        return self(command, self.indexes, "notes", *arguments, **options)

    def client(self):
        """A client with those key managers that need nobody to type anything."""
        kms = {
            "file": KeyFile(self.folder / "wrapping.key"),
            "variable": EnvironmentVariable("WRAPPING_KEY"),
        }
        return Client(self.indexes, kms=kms)

    def holders(self):
        """The slots of the key managers of the index `notes`."""
        with self.client() as client:
            return list(client.describe_index("notes")["key_managers"])

    def opens(self, key=None, slot=None):
        """Whether the index `notes` opens like that, with what was in it."""
        given = {"index_key": key} if key else {"kms_name": slot}
        with self.client() as client, client.load_index("notes", read_only=True, **given) as index:
            return len(index) == 2


def private(path, text):
    """A file for its owner alone."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def run(*command, **options):
    """Run a program to its end, without a terminal: its exit code, output and errors."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        [*map(str, command)],
        stdout=subprocess.PIPE if "stdout" not in options else options.pop("stdout"),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        start_new_session=True,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


INTERRUPT = "\x03"


def at_terminal(*command, dialogue=(), **options):
    """Run a program at a terminal of its own: its exit code, and all that the terminal shows.

    `dialogue`: what is waited for, and what is typed then.
    """
    ours, its = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *map(str, command)],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        **options,
    )
    os.close(its)
    try:
        shown = ""
        for expected, typed in dialogue:
            before = len(shown)
            while expected not in shown[before:]:
                more = read(ours)
                assert more, f"{expected!r} was not asked, but: {shown}"
                shown += more
            os.write(ours, typed.encode())
        last = dialogue[-1][1] if dialogue else ""
        while more := read(ours, last if last == INTERRUPT else ""):
            shown += more
        return child.wait(timeout=30), shown.replace("\r\n", "\n")
    finally:
        os.close(ours)
        child.kill()
        child.wait()


def read(terminal, again=""):
    """What a terminal shows next; nothing once the program has ended.

    `again` is typed once more while nothing is shown: a signal that comes between Python's last look
    for one and the call that waits for input is noticed with the next one.
    """
    deadline = time.monotonic() + 30
    while not select.select([terminal], [], [], 3 if again else 30)[0]:
        assert again, "nothing was shown"
        assert time.monotonic() < deadline, "nothing was shown"
        os.write(terminal, again.encode())
    try:
        return os.read(terminal, 10_000).decode()
    except OSError:  # what Linux says when nobody has the other end open
        return ""
