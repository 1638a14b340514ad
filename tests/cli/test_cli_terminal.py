"""The command as it is installed: the script, `python -m`, and a person at a terminal."""

import json
import os
import stat

import pytest
from cli_harness import HEX, MODULE, OTHER, SCRIPT, assert_untold, at_terminal, run

FILE = ("--key-file", "notes.key")
KMS = ("--kms", "kms.toml")
WORDS = "another passphrase\n"


@pytest.mark.parametrize("program", [(SCRIPT,), MODULE], ids=["script", "module"])
def test_as_it_is_installed(supplied, program):
    """Both ways to start it do the same, and a key file is made for its owner alone."""
    assert run(*program, "list", "indexes") == (0, "notes\n", "")
    code, out, err = run(*program, "info", "indexes", "notes", *FILE, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"] == 2
    code, out, err = run(*program, "info", "indexes", "nothing")
    assert (code, out) == (3, "")
    assert err == "cyborg-embedded: there is no index named 'nothing'\n"
    assert run(*program, "keygen", "--out", "new.key") == (0, "", "")
    assert stat.S_IMODE(os.stat("new.key").st_mode) == 0o600


def test_nobody_reads(supplied):
    """A reader that has gone, or no standard output at all, is no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    assert run(SCRIPT, "list", "indexes", stdout=writer) == (1, None, "")
    assert run(SCRIPT, "--help", stdout=writer)[2] == ""
    os.close(writer)
    code, _, err = run("sh", "-c", f"exec {SCRIPT} list indexes >&-")
    assert code == 1
    assert err == "cyborg-embedded: standard output: Bad file descriptor\n"
    with open("/dev/full", "w") as full:
        code, _, err = run(SCRIPT, "list", "indexes", stdout=full)
    assert (code, err.count("\n")) == (8, 1)


def test_without_a_terminal(supplied):
    """Nobody is asked, and standard input is not read, where there is no terminal."""
    with open("notes.key") as typed:
        code, out, err = run(SCRIPT, "info", "indexes", "notes", "--key-prompt", stdin=typed)
    assert (code, out) == (2, "")
    assert err == "cyborg-embedded: there is no terminal to ask for a secret on\n"


def test_a_key_is_typed_unseen(supplied):
    """A key that is typed opens the index, and the terminal does not show it."""
    code, shown = at_terminal(
        *(SCRIPT, "info", "indexes", "notes", "--key-prompt"),
        dialogue=[("Key of 'notes', 64 hex digits: ", HEX + "\n")],
    )
    assert code == 0
    assert "rows:" in shown
    assert_untold(shown)


def test_a_new_key_is_typed_twice(supplied):
    """A key that something is to be made under is typed twice; a slip of the finger is noticed."""
    asked = "Key of 'new', 64 hex digits"
    for again, wanted in ((OTHER.hex()[::-1], 2), (OTHER.hex(), 0)):
        code, shown = at_terminal(
            *(SCRIPT, "create", "indexes", "new", "--key-prompt"),
            dialogue=[
                (f"{asked}: ", OTHER.hex() + "\n"),
                (f"{asked}, once more: ", again + "\n"),
            ],
        )
        assert code == wanted
        assert_untold(shown)
        assert_untold(shown.replace(again, HEX))
        assert os.path.exists("indexes/new.cyb") is (wanted == 0)


def test_the_new_key_of_a_rekey_is_typed_twice(supplied):
    """So is the one that an index goes over to."""
    asked = "New key of 'notes', 64 hex digits"
    for again, wanted in ((OTHER.hex()[::-1], 2), (OTHER.hex(), 0)):
        code, shown = at_terminal(
            *(SCRIPT, "rekey", "indexes", "notes", *FILE, "--new-key-prompt", "--quiet"),
            dialogue=[
                (f"{asked}: ", OTHER.hex() + "\n"),
                (f"{asked}, once more: ", again + "\n"),
            ],
        )
        assert code == wanted
        assert_untold(shown.replace(again, HEX))
    assert supplied.opens(OTHER)


def test_a_passphrase_is_typed_unseen(supplied):
    """A passphrase that the TOML file does not have is typed: twice to wrap, once to open."""
    wrap = [
        ("Passphrase to put the key under, of 'person': ", WORDS),
        ("Passphrase to put the key under, of 'person', once more: ", WORDS),
    ]
    code, shown = at_terminal(
        *(SCRIPT, "rewrap", "indexes", "notes", *FILE, *KMS, "--to-kms", "person"),
        dialogue=[wrap[0], (wrap[1][0], "mistyped\n")],
    )
    assert code == 4
    assert supplied.holders() == []
    code, shown = at_terminal(
        *(SCRIPT, "rewrap", "indexes", "notes", *FILE, *KMS, "--to-kms", "person"), dialogue=wrap
    )
    assert code == 0
    assert supplied.holders() == ["person"]
    assert_untold(shown)
    asked = "Passphrase of 'person': "
    code, shown = at_terminal(
        *(SCRIPT, "info", "indexes", "notes", *KMS), dialogue=[(asked, "wrong\n")]
    )
    assert code == 4
    # Once, though the index is opened, and opened again.
    code, shown = at_terminal(
        *(SCRIPT, "rewrap", "indexes", "notes", *KMS, "--to-supplied", "--out", "back.key"),
        dialogue=[(asked, WORDS)],
    )
    assert code == 0
    assert shown.count("Passphrase") == 1
    assert_untold(shown)
    with open("back.key") as file:
        assert file.read() == HEX + "\n"


@pytest.mark.parametrize("typed", ["\x03", "\x04"], ids=["interrupt", "end of file"])
def test_nothing_is_typed(supplied, typed):
    """130: interrupted at a question; 2: nothing was typed."""
    code, shown = at_terminal(
        *(SCRIPT, "compact", "indexes", "notes", "--key-prompt"), dialogue=[(": ", typed)]
    )
    assert code == (130 if typed == "\x03" else 2)
    assert "Traceback" not in shown


@pytest.mark.parametrize("typed", ["notes\n", "Notes\n", "\n", "yes\n", "\x04"])
def test_deleting_asks_for_the_name(supplied, typed):
    """An index is deleted only when its name was typed, as it is written."""
    code, shown = at_terminal(
        *(SCRIPT, "delete", "indexes", "notes", *FILE), dialogue=[("go on: ", typed)]
    )
    assert code == (0 if typed == "notes\n" else 2), shown
    assert os.path.exists("indexes/notes.cyb") is (typed != "notes\n")
    assert "'notes'" in shown


def test_progress_is_for_terminals(supplied):
    """A terminal sees a progress bar; a pipe does not; `--quiet` is quiet."""
    command = (SCRIPT, "compact", "indexes", "notes", *FILE)
    code, shown = at_terminal(*command)
    assert code == 0
    assert "100% of 2 items\n" in shown
    assert at_terminal(*command, "--quiet") == (0, "")
    assert run(*command) == (0, "", "")
