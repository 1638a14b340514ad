"""Index names: which are allowed, and that each has one portable file name."""

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.names import EXTENSION, check_name, file_name, fold, name_of_file

GOOD = [
    "notes",
    "Notes 2024",
    "日本語の索引",
    "заметки",
    "ملاحظات",
    "हिन्दी",
    "naïve café",
    "🗂️ files",
    ".hidden",
    "...x",
    " leading space",
    "50%",
    "%41",
    "a%zz",
    'what: "this" <or> that|those?*',
    "a.b.c",
    "console",
    "com",
    "com10",
    "xcon",
    "-",
    "a\u00a0",
    "x.cyb",
    "X" * 200,
    "é" * 100,
    "%" * 66,
]


@pytest.mark.parametrize("name", GOOD)
def test_names_of_any_script(name):
    """Any text without separators and control characters is a name, and its file finds it back."""
    assert check_name(name) == name
    file = file_name(name)
    assert file.endswith(EXTENSION)
    assert name_of_file(file) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "../up",
        "a\\b",
        "a\x00b",
        "a\nb",
        "tab\t",
        "\x7f",
        "\x85",
        "\ud800",
        "a\udfff",
        "dot.",
        "space ",
        "dots...",
        " ",
        "   ",
        ". ",
    ],
    ids=ascii,
)
def test_names_that_are_refused(name):
    """Separators, control characters, surrogates, and names that end in a dot or a space: no."""
    with pytest.raises(InvalidInputError):
        check_name(name)


@pytest.mark.parametrize("name", [None, b"notes", 1, 1.5, True, ["notes"]], ids=repr)
def test_only_text_is_a_name(name):
    """What is not text is InvalidInputError that says of which type it was."""
    with pytest.raises(InvalidInputError, match=type(name).__name__):
        check_name(name)


DEVICES = ["con", "prn", "aux", "nul", "conin$", "conout$", "com0", "com1", "com9", "lpt1", "lpt9"]
DEVICES += ["com¹", "com²", "lpt³"]


@pytest.mark.parametrize("device", DEVICES)
def test_device_names_are_refused(device):
    """The names of Windows devices are refused, in any case, with any extension or spaces."""
    for name in (device, device.upper(), device.title(), device + ".txt", device + " .a.b"):
        with pytest.raises(InvalidInputError):
            check_name(name)


@pytest.mark.parametrize("name", ["x" * 201, "é" * 101, "🗂" * 51, "%" * 67, "?" * 200])
def test_length_limit(name):
    """A name whose file name, escapes included, is longer than 200 bytes is refused."""
    with pytest.raises(InvalidInputError):
        check_name(name)


def test_names_are_normalised():
    """A name is its NFC form, however it was typed."""
    decomposed = unicodedata.normalize("NFD", "café")
    assert decomposed != "café"
    assert check_name(decomposed) == "café"
    assert name_of_file(decomposed + EXTENSION) == "café"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Notes", "nOTES"), ("STRASSE", "straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ÉTÉ", "été")],
)
def test_case_does_not_matter(one, other):
    """Two names that differ by case alone fold to the same."""
    assert one != other
    assert fold(check_name(one)) == fold(check_name(other))


def test_folding_tells_names_apart():
    """Names that differ by more than case stay different."""
    assert len({fold(name) for name in GOOD}) == len(GOOD)


def test_escapes():
    """Characters that some file system refuses are written as %XX, a leading dot or space too."""
    assert file_name("notes") == "notes.cyb"
    assert file_name(".a.b") == "%2Ea.b.cyb"
    assert file_name(" a b") == "%20a b.cyb"
    assert file_name('<>:"|?*%') == "%3C%3E%3A%22%7C%3F%2A%25.cyb"


@pytest.mark.parametrize(
    "file",
    [
        "notes",
        "notes.txt",
        "notes.cyb-lock",
        "notes.cyb-writer",
        ".notes.cyb",
        ".new-0123.cyb",
        ".lock",
        ".cyb",
        "a%2Fb.cyb",
        "a%00b.cyb",
        "a%5Cb.cyb",
        "%2E%2E.cyb",
        "con.cyb",
        "end .cyb",
        "",
        "\udcff.cyb",
    ],
    ids=ascii,
)
def test_files_that_are_no_index(file):
    """Lock files, temporary files and files whose name stands for no index name are ignored."""
    assert name_of_file(file) is None


PORTABLE = set('<>:"|?*/\\') | {chr(code) for code in range(32)}


@given(st.text(max_size=80))
@example("%2E")
@example("..a")
@example("a\u0301")
@example("\u212b")
def test_accepted_names_round_trip(text):
    """An accepted name comes back from its file name, which is safe in any folder."""
    try:
        name = check_name(text)
    except InvalidInputError:
        assume(False)  # noqa: FBT003 - Hypothesis's own way
        return
    file = file_name(name)
    assert name_of_file(file) == name
    assert not PORTABLE & set(file)
    assert not file.startswith((".", " "))
    assert file[: -len(EXTENSION)][-1] not in ". "
    assert len(file.encode()) <= 200 + len(EXTENSION)
    assert check_name(name) == name
    assert unicodedata.is_normalized("NFC", file)


@given(st.text(max_size=40))
def test_any_file_name_is_a_name_or_none(file):
    """Whatever lies in the folder, its file name gives a checked name or None, never an error."""
    name = name_of_file(file + EXTENSION)
    assert name is None or check_name(name) == name
