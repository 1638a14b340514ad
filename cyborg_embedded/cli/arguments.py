"""The command line as it is written: commands, options, and the help that explains them.

No option takes a key. What argparse would end the process for is an `InvalidInputError` here.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from cyborg_embedded import __version__
from cyborg_embedded.cli.exits import EXIT_CODES
from cyborg_embedded.cli.keysources import KMS_VARIABLE
from cyborg_embedded.cli.terminal import PROGRAM
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import METRICS, PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parse"]

DESCRIPTION = """\
Make, describe and delete encrypted indexes, and change their keys.

The key of an index comes from --key-file, --key-env, --key-prompt or --saved-key where the caller
supplies it, or from a key manager in the TOML file of --kms. It is never an argument.
"""
EPILOG = "Exit codes:\n" + "\n".join(f"  {code:>3}  {text}" for code, text in EXIT_CODES.items())
REWRAP = """\
Put the key of an index into other hands. The key stays the same: to revoke it, rekey.

With --to-supplied the key is in the file of --out, and on the disk, before the index is taken from
its key managers. Should it be interrupted then, keep that file, if it is there.
"""
OUT = "a new file (mode 0600, never overwritten) for the key; '-' for standard output"
DEFAULT = "(%(default)s)"


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, and takes options by their whole names alone."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise `InvalidInputError`."""
        message = f"{message}; see {self.prog} --help"
        raise InvalidInputError(message)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line. Raises `InvalidInputError`, and `SystemExit` for `--help`."""
    return parser().parse_args(arguments)


def parser() -> Parser:
    """The parser of the whole command line."""
    whole = Parser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG)
    version = f"%(prog)s {__version__}"
    whole.add_argument("--version", action="version", version=version, help="show the version")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, words: str, *parts: Callable[[Parser], None]) -> Parser:
        made: Parser = commands.add_parser(name, help=words, description=words)
        for part in parts:
            part(made)
        return made

    keygen = command("keygen", "make a new index key")
    keygen.add_argument("--out", metavar="FILE", type=text, help=OUT)

    create = command("create", "make an index", place, keys, managers, lock)
    create.add_argument("--dimension", type=int, metavar="N", help="else the first upsert sets it")
    create.add_argument("--metric", choices=METRICS, default=METRICS[0], help=DEFAULT)
    create.add_argument(
        "--storage-precision", choices=PRECISIONS, default=PRECISIONS[0], help=DEFAULT
    )

    described = "describe an index, and with its key (or --kms) also what is in it"
    info = command("info", described, place, keys, managers, lock)
    listing = command("list", "list the indexes of a folder", folder)
    for each in (info, listing):
        each.add_argument("--json", action="store_true", help="as JSON")

    rewrap = command(
        "rewrap", "put the key of an index into other hands", place, keys, managers, lock
    )
    rewrap.description = REWRAP
    hands = rewrap.add_mutually_exclusive_group(required=True)
    hands.add_argument("--to-kms", metavar="SLOT", type=text, help="to this key manager alone")
    hands.add_argument("--to-supplied", action="store_true", help="to you: the key goes to --out")
    rewrap.add_argument("--out", metavar="FILE", type=text, help=OUT)

    for name, words in (
        ("add-manager", "let one more key manager hold the key of an index"),
        ("remove-manager", "let one key manager less hold the key of an index; revokes nothing"),
    ):
        change = command(name, words, place, managers, lock)
        change.add_argument("slot", metavar="SLOT", type=text, help="its name in the file of --kms")

    rekey = command("rekey", "seal an index anew, under another key", place, keys, managers, lock)
    new_keys(rekey)
    rekey.add_argument(
        "--drop-manager",
        metavar="SLOT",
        type=text,
        action="append",
        default=[],
        help="a key manager that is not to have the new key; may be repeated",
    )
    without = "write an index anew, without deleted items and free space"
    compact = command("compact", without, place, keys, managers, lock)
    verify = command("verify", "look at everything in an index", place, keys, managers, lock)
    verify.add_argument("--json", action="store_true", help="as JSON")
    verify.add_argument(
        "--untrusted", action="store_true", help="the file may have been written by a stranger"
    )
    backup = command("backup", "copy an index, also while it is used", place, keys, managers, lock)
    backup.add_argument("to", metavar="FILE", type=text, help="a new file for the copy")
    restore = command("restore", "make an index from a backup", place, keys, managers, lock)
    restore.add_argument("backup", metavar="FILE", type=text, help="the copy")
    for each in (backup, restore):
        each.add_argument("--unchecked", action="store_true", help="do not look at what is in it")
    saving = "save what can be saved of a damaged index into a new one"
    repair = command("repair", saving, place, keys, managers, lock)
    repair.add_argument("--to", metavar="NAME", type=text, required=True, help="the new one")
    for each in (rekey, compact, verify, repair):
        each.add_argument("--quiet", action="store_true", help="no progress bar")

    delete = command("delete", "delete an index for good", place, keys, managers, lock)
    delete.add_argument("--yes", action="store_true", help="do not ask")
    return whole


def text(given: str) -> str:
    """An argument that is not empty, as it is when a variable of a script is not set."""
    if not given or "\0" in given:
        message = "must not be empty"
        raise argparse.ArgumentTypeError(message)
    return given


def folder(to: Parser) -> None:
    """The argument for the folder."""
    to.add_argument("folder", metavar="FOLDER", type=text, help="the folder of the indexes")


def place(to: Parser) -> None:
    """The arguments for one index."""
    folder(to)
    to.add_argument("name", metavar="NAME", type=text, help="the name of the index")


def keys(to: Parser) -> None:
    """The options for a key that the caller supplies."""
    group = to.add_argument_group("the key of the index, where the caller supplies it")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--key-file", metavar="FILE", type=text, help="a file that nobody else may read (mode 0600)"
    )
    one.add_argument("--key-env", metavar="VARIABLE", type=text, help="an environment variable")
    one.add_argument("--key-prompt", action="store_true", help="ask for it, without echo")
    one.add_argument(
        "--saved-key", action="store_true", help="the one in ~/.cyborgdb: for development only"
    )


def new_keys(to: Parser) -> None:
    """The options for a new key that the caller supplies."""
    group = to.add_argument_group("the new key, where the caller supplies it")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--new-key-file", metavar="FILE", type=text, help="a file, as keygen makes it")
    one.add_argument("--new-key-env", metavar="VARIABLE", type=text, help="an environment variable")
    one.add_argument("--new-key-prompt", action="store_true", help="ask for it, twice")


def managers(to: Parser) -> None:
    """The options for key managers."""
    group = to.add_argument_group("key managers")
    group.add_argument(
        "--kms", metavar="FILE.toml", type=text, help=f"the file of them (else ${KMS_VARIABLE})"
    )
    group.add_argument("--kms-name", metavar="SLOT", type=text, help="the one to hold or give it")


def lock(to: Parser) -> None:
    """The option for how long to wait."""
    to.add_argument(
        "--lock-timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long to wait for somebody else (%(default)s)",
    )
