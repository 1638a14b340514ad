"""The registry of key managers: as a mapping, and as a TOML file with variables in it."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import CONTEXT, INDEX_KEY, OTHER, SECRET, assert_untold, told

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms import EnvironmentVariable, KeyFile, KeyManager, Passphrase, configuration
from cyborg_embedded.kms.registry import PROVIDERS, KeyRegistry, read_registry

WORDS = "correct horse battery staple"
HIDDEN = "hunter2"
"""A value that no message may tell."""


class Own(KeyManager):
    """A key manager of an application's own."""

    provider = "own"

    def wrap(self, index_key, context):
        raise NotImplementedError

    def unwrap(self, envelope, context):
        raise NotImplementedError


@pytest.fixture
def read(tmp_path):
    """What a file of key managers gives."""

    def read(text, **options):
        path = tmp_path / "keys.toml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return read_registry(path, **options)

    return read


def invalid(work, *matches):
    """It is InvalidInputError with all of these in its message, and without any value."""
    with pytest.raises(InvalidInputError) as caught:
        work()
    for match in matches:
        assert match in str(caught.value)
    assert_untold(told(caught.value), HIDDEN, WORDS, SECRET)


# As a mapping.


def test_mapping():
    """Managers are got by their names, which keep their order; changes come too late."""
    managers = {"prod": Own(), "recovery": Passphrase(WORDS)}
    registry = KeyRegistry(managers)
    assert registry.slots == ("prod", "recovery")
    assert all(registry.get(slot) is manager for slot, manager in managers.items())
    assert "prod" in registry
    assert "Prod" not in registry
    assert 5 not in registry
    assert [] not in registry
    managers["late"] = Own()
    assert "late" not in registry
    assert KeyRegistry(MappingProxyType(managers)).slots == ("prod", "recovery", "late")
    assert KeyRegistry({}).slots == ()


def test_unknown_slot():
    """A name that is not there is named, and so are those that are."""
    registry = KeyRegistry({"prod": Own(), "recovery": Own()})
    invalid(lambda: registry.get("staging"), "'staging'", "'prod', 'recovery'")
    invalid(lambda: KeyRegistry({}).get("staging"), "'staging'", "none")
    for bad in (None, 5, "", "a\n", "x" * 65, []):
        invalid(lambda bad=bad: registry.get(bad), "1 to 64 printable characters")


@pytest.mark.parametrize("slot", ["", "a\nb", "x" * 65, None, 5, b"prod"], ids=repr)
def test_bad_slots(slot):
    """Slots are 1 to 64 printable characters."""
    invalid(lambda: KeyRegistry({slot: Own()}), "1 to 64 printable characters")


@pytest.mark.parametrize("manager", [None, HIDDEN, Own, object(), {"provider": "own"}])
def test_what_is_no_manager(manager):
    """What is no KeyManager is refused by its slot and type."""
    invalid(lambda: KeyRegistry({"fine": Own(), "prod": manager}), "'prod'", type(manager).__name__)


@pytest.mark.parametrize("provider", ["", "x" * 65, "a\n", None, 5, ...], ids=repr)
def test_providers_that_are_not_sound(provider):
    """A manager has to name its provider, in 1 to 64 printable characters."""
    kind = type("Unsound", (Own,), {} if provider is ... else {"provider": provider})
    if provider is ...:
        kind = type("Nameless", (KeyManager,), {"wrap": Own.wrap, "unwrap": Own.unwrap})
    invalid(lambda: KeyRegistry({"prod": kind()}), "'prod'", "provider must be 1 to 64")


@pytest.mark.parametrize("managers", [None, 5, HIDDEN, [("prod", Own())], {"prod"}], ids=repr)
def test_what_is_no_mapping(managers):
    """Anything but a mapping is refused."""
    invalid(lambda: KeyRegistry(managers), "mapping")


def test_it_shows_names_and_providers_alone(read):
    """The repr has slots and providers; a registry is not pickled and not copied."""
    registry = read(f"[prod]\nprovider = 'passphrase'\npassphrase = '{WORDS}'")
    assert repr(registry) == "<KeyRegistry {'prod': passphrase}>"
    for away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            away(registry)
        assert_untold(told(caught.value), WORDS)


# As a file.


def test_every_provider(read):
    """A file may name each of the providers; its managers are those of the table."""
    registry = read("""
        [kms]
        provider = "aws-kms"
        key_id = "alias/prod"
        region = "eu-central-1"
        role_arn = "arn:aws:iam::111122223333:role/keys"
        external_id = "x"
        timeout = 2
        key_ttl = 30.5

        [secrets]
        provider = "aws-secrets-manager"
        secret_id = "prod/wrapping"

        [recovery]
        provider = "passphrase"
        passphrase = "words"
        memory_kib = 64
        passes = 2
        lanes = 1

        ["a file"]
        provider = "key-file"
        path = "/somewhere/key"

        [ci]
        provider = "environment-variable"
        variable = "CI_SECRET"

        [desktop]
        provider = "keychain"

        [desktop2]
        provider = "keychain"
        service = "s"
        account = "a"
    """)
    providers = {slot: registry.get(slot).provider for slot in registry.slots}
    assert list(providers) == ["kms", "secrets", "recovery", "a file", "ci", "desktop", "desktop2"]
    assert set(providers.values()) == set(PROVIDERS)
    assert registry.get("kms").key_ttl == 30.5
    assert "alias/prod in eu-central-1" in repr(registry.get("kms"))
    assert "memory_kib 64, passes 2, lanes 1" in repr(registry.get("recovery"))
    assert "/somewhere/key" in repr(registry.get("a file"))
    assert "s/a" in repr(registry.get("desktop2"))


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_fields_are_the_arguments(provider):
    """The fields of a provider are all arguments of its class; those without default it must have."""
    arguments = inspect.signature(provider.manager).parameters
    assert set(provider.fields) == set(arguments)
    needed = {name for name, each in arguments.items() if each.default is inspect.Parameter.empty}
    assert set(provider.required) == needed
    for name, kind in provider.fields.items():
        assert arguments[name].annotation.startswith(kind.__name__)


def test_empty_file(read):
    """A file without tables is a registry without managers."""
    assert read("# nothing yet").slots == ()


def test_passphrases_and_key_files_work(read, tmp_path, monkeypatch):
    """Managers out of a file unwrap what those made by hand wrapped; `path` is beside the file."""
    KeyFile.create(tmp_path / "beside.key")
    monkeypatch.setenv("RECOVERY", WORDS)
    monkeypatch.chdir("/")
    registry = read("""
        [recovery]
        provider = "passphrase"
        passphrase = "${RECOVERY}"

        [file]
        provider = "key-file"
        path = "beside.key"
    """)
    monkeypatch.setenv("RECOVERY", "changed since")
    cheap = {"memory_kib": 8, "passes": 1, "lanes": 1}
    for slot, made in (
        ("recovery", Passphrase(WORDS, **cheap)),
        ("file", KeyFile(tmp_path / "beside.key")),
    ):
        envelope = made.wrap(INDEX_KEY, CONTEXT)
        assert registry.get(slot).unwrap(envelope, CONTEXT) == INDEX_KEY
        with pytest.raises(KeyManagerError):
            registry.get(slot).unwrap(envelope, OTHER)


def test_relative_file(tmp_path, monkeypatch):
    """The file may be named by a path from the current folder, as text or path object."""
    (tmp_path / "keys.toml").write_text("[f]\nprovider = 'key-file'\npath = '../key'")
    monkeypatch.chdir(tmp_path)
    for path in ("keys.toml", tmp_path / "keys.toml"):
        assert str(tmp_path.parent / "key") in repr(read_registry(path).get("f"))


def test_asked_passphrases(read):
    """A passphrase that is not in the file is asked for by slot, at each use and not before."""
    asked = []

    def ask(slot):
        asked.append(slot)
        return f"{WORDS} of {slot}"

    costs = "provider = 'passphrase'\nmemory_kib = 8\npasses = 1\nlanes = 1\n"
    registry = read(f"[a]\n{costs}[b]\n{costs}[c]\n{costs}passphrase = 'given'\n", ask=ask)
    assert asked == []
    for slot in registry.slots:
        manager = registry.get(slot)
        envelope = manager.wrap(INDEX_KEY, CONTEXT)
        words = "given" if slot == "c" else f"{WORDS} of {slot}"
        assert Passphrase(words).unwrap(envelope, CONTEXT) == INDEX_KEY
    assert asked == ["a", "b"]
    invalid(lambda: read(f"[a]\n{costs}"), "'a'", "field 'passphrase' is missing")
    invalid(lambda: read("[a]\nprovider = 'keychain'\npassphrase = 'x'", ask=ask), "'passphrase'")
    invalid(lambda: read("[a]\nprovider = 'key-file'", ask=ask), "field 'path' is missing")


# Variables.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "value"),
        ("<${A}-${A}>", "<value-value>"),
        ("${A:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET:-other}", "other"),
        ("${UNSET:-}x", "x"),
        ("${UNSET:-a:-b c/@\u00e9}", "a:-b c/@\u00e9"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$value"),
        ("$$$${A}", "$${A}"),
        ("$A $", "$A $"),
        ("{A} }", "{A} }"),
        ("${REF}", "${A} $$"),
        ("${_under9}", "9"),
    ],
)
def test_variables(monkeypatch, text, expected):
    """Names are replaced, once; defaults stand in for what is unset or empty; `$$` is a dollar."""
    for name, value in {"A": "value", "EMPTY": "", "REF": "${A} $$", "_under9": "9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    assert configuration.resolved("field", text) == expected


@pytest.mark.parametrize("value", [5, 2.5, True, ["${A}"], {"a": "${A}"}])
def test_only_texts_are_replaced(value):
    """Other values stay as they are."""
    assert configuration.resolved("field", value) is value


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${}",
        "${A",
        "${A:}",
        "${A-x}",
        "${A:-x",
        "${A:-${B}}",
        "${1}",
        "${A B}",
        "${A:-$}",
        "${\u00e9}",
    ],
)
def test_malformed_references(read, monkeypatch, text):
    """A `${` that begins no reference is an error that names slot and field, not the value."""
    monkeypatch.setenv("A", "a")
    document = f"[prod]\nprovider = 'passphrase'\npassphrase = '{HIDDEN}{text}{HIDDEN}'"
    invalid(lambda: read(document), "keys.toml", "'prod'", "field 'passphrase' has a '${'")


@pytest.mark.parametrize("value", [None, ""])
def test_unset_variables(read, monkeypatch, value):
    """A variable without value and default is an error that names slot, field and variable."""
    monkeypatch.delenv("SOME_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_SECRET", value)
    document = f"[prod]\nprovider = 'passphrase'\npassphrase = '{HIDDEN}${{SOME_SECRET}}'"
    invalid(
        lambda: read(document), "keys.toml", "'prod'", "'passphrase'", "'SOME_SECRET' is not set"
    )


def test_variables_in_every_text(read, monkeypatch):
    """The provider too may be a variable's."""
    monkeypatch.setenv("PROVIDER", "environment-variable")
    registry = read("[a]\nprovider = '${PROVIDER}'\nvariable = '${UNSET_ONE:-NAME}'")
    assert isinstance(registry.get("a"), EnvironmentVariable)
    assert "NAME" in repr(registry.get("a"))


# The name of a variable may be told: what is hidden is never one.
PIECES = st.sampled_from(
    ["$", "{", "}", ":-", "A", "UNSET", "${A}", "${UNSET:-x}", f"-{HIDDEN}-", " "]
)


@settings(deadline=None, database=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_of_references(text):
    """Any text is replaced or InvalidInputError; no error tells the text; what has no dollar stays."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("A", "$value")
        patched.delenv("UNSET", raising=False)
        try:
            found = configuration.resolved("field", text)
        except InvalidInputError as error:
            assert "${" in text
            assert_untold(told(error), HIDDEN)
        else:
            assert "$" in text or found == text
            if "$$" not in text and "${" not in text:
                assert found == text


# What is wrong with files.

PASSPHRASE = f"provider = 'passphrase'\npassphrase = '{HIDDEN}'\n"


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        (
            f"[prod]\nprovider = '{HIDDEN}'",
            ["'prod'", "field 'provider' must be one of", "aws-kms, "],
        ),
        ("[prod]\nprovider = 5", ["'prod'", "field 'provider' must be one of"]),
        (f"[prod]\nprovider = ['{HIDDEN}']", ["'prod'", "field 'provider' must be one of"]),
        (f"[prod]\nkey_id = '{HIDDEN}'", ["'prod'", "field 'provider' is missing"]),
        (f"[prod]\n{PASSPHRASE}colour = '{HIDDEN}'", ["'prod'", "field 'colour'", "passes, lanes"]),
        (f"[prod]\n{PASSPHRASE}[prod.inner]\na = '{HIDDEN}'", ["'prod'", "field 'inner'"]),
        (f"[prod]\n{PASSPHRASE}passes = '{HIDDEN}'", ["'prod'", "field 'passes' must be a whole"]),
        (f"[prod]\n{PASSPHRASE}passes = true", ["'prod'", "field 'passes' must be a whole number"]),
        (f"[prod]\n{PASSPHRASE}passes = 3.0", ["'prod'", "field 'passes' must be a whole number"]),
        (f"[prod]\n{PASSPHRASE}passes = 99", ["'prod'", "passes and lanes from 1 to 16"]),
        ("[prod]\nprovider = 'passphrase'\npassphrase = 5", ["field 'passphrase' must be a text"]),
        ("[prod]\nprovider = 'passphrase'\npassphrase = ''", ["'prod'", "not empty"]),
        ("[prod]\nprovider = 'passphrase'", ["'prod'", "field 'passphrase' is missing"]),
        ("[prod]\nprovider = 'key-file'", ["'prod'", "field 'path' is missing"]),
        ("[prod]\nprovider = 'key-file'\npath = ''", ["'prod'", "not empty"]),
        ("[prod]\nprovider = 'environment-variable'", ["'prod'", "field 'variable' is missing"]),
        ("[prod]\nprovider = 'aws-kms'", ["'prod'", "field 'key_id' is missing"]),
        ("[prod]\nprovider = 'aws-secrets-manager'", ["'prod'", "field 'secret_id' is missing"]),
        (
            f"[p]\nprovider = 'aws-kms'\nkey_id = 'a'\ntimeout = '{HIDDEN}'",
            ["'timeout' must be a number"],
        ),
        ("[p]\nprovider = 'aws-kms'\nkey_id = 'a'\nkey_ttl = true", ["'key_ttl' must be a number"]),
        (
            f"[p]\nprovider = 'aws-kms'\nkey_id = 'a'\nexternal_id = '{HIDDEN}'",
            ["'p'", "external_id"],
        ),
        (f"prod = '{HIDDEN}'", ["'prod'", "must be a table"]),
        (f"prod = ['{HIDDEN}']", ["'prod'", "must be a table"]),
        (f"[[prod]]\n{PASSPHRASE}", ["'prod'", "must be a table"]),
        (f"['{'x' * 65}']\n{PASSPHRASE}", ["xxx", "1 to 64 printable characters"]),
        (f'["a\\nb"]\n{PASSPHRASE}', ["'a\\nb'", "1 to 64 printable characters"]),
        (f"['']\n{PASSPHRASE}", ["1 to 64 printable characters"]),
        (f"[prod]\n{PASSPHRASE}\n= 3\n", ["line 5: is not TOML"]),
        (f"[prod]\nprovider = 'passphrase'\npassphrase = {HIDDEN}\n", ["line 3: is not TOML"]),
        (f'[prod]\npassphrase = "{HIDDEN}\n', ["line 2: is not TOML"]),
        (f"[prod]\npassphrase = '''{HIDDEN}\n", ["is not TOML: something has no end"]),
        (f"[prod]\n{PASSPHRASE}[prod]\n{PASSPHRASE}", ["line 4: is not TOML"]),
        (f"[prod]\n{PASSPHRASE}{PASSPHRASE}", ["line 4: is not TOML"]),
        ("a = " + "[" * 5000, ["is not TOML"]),
        (
            f"[prod]\npassphrase = '{HIDDEN}'\nother = '".encode() + b"\xff'",
            ["line 3: is not UTF-8"],
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, (str, bytes)) else "",
)
def test_what_is_wrong(read, text, matches):
    """The error names the file, and line or slot and field; it tells no value."""
    invalid(lambda: read(text), "keys.toml", *matches)


def test_missing_files(tmp_path):
    """A file that is not there, or is a folder, is named."""
    invalid(
        lambda: read_registry(tmp_path / "no.toml"), "no.toml", "cannot be read", "No such file"
    )
    invalid(lambda: read_registry(tmp_path), str(tmp_path), "cannot be read")
    for bad in (None, 5, "", "a\0b", {}):
        invalid(lambda bad=bad: read_registry(bad), "path")


def test_parser_missing(read, monkeypatch):
    """Where there is no parser the error says what to install."""
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    invalid(lambda: read(f"[prod]\n{PASSPHRASE}"), "pip install 'cyborg-embedded[toml]'")


def test_no_extra_is_needed_to_read(read, tmp_path):
    """A file of all providers is read without boto3 and keyring; their use says what is missing."""
    read("[a]\nprovider = 'aws-kms'\nkey_id = 'k'\n[b]\nprovider = 'keychain'\n")
    program = """
        import sys
        sys.modules["boto3"] = sys.modules["botocore"] = sys.modules["keyring"] = None
        from cyborg_embedded.errors import KeyManagerError
        from cyborg_embedded.kms import KeyContext
        from cyborg_embedded.kms.registry import read_registry
        registry = read_registry(sys.argv[1])
        for slot in registry.slots:
            try:
                registry.get(slot).wrap(bytes(32), KeyContext(bytes(16)))
            except KeyManagerError as error:
                print(slot, str(error).partition("pip install ")[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "keys.toml")]
    result = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    expected = "a 'cyborg-embedded[aws]'\nb 'cyborg-embedded[keychain]'\n"
    assert result.stdout == expected, result.stderr


LINES = st.sampled_from(
    [
        "[prod]",
        "[other]",
        "[[prod]]",
        "[prod.provider]",
        "provider = 'passphrase'",
        "provider = 'key-file'",
        "provider = 'keychain'",
        f"passphrase = '{HIDDEN}'",
        f"passphrase = '{HIDDEN}${{'",
        f"passphrase = '''{HIDDEN}",
        f"path = '{HIDDEN}'",
        f"path = [{HIDDEN}",
        f"path = {{ a = '{HIDDEN}' }}",
        f"service = {HIDDEN}",
        "lanes = 1",
        "lanes = nan",
        "= 1",
        "",
    ]
)


@settings(deadline=None, database=None)
@given(text=st.lists(LINES, max_size=8).map("\n".join))
def test_any_file(tmp_path_factory, text):
    """Any file is a registry or InvalidInputError, and neither tells a value."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    try:
        shown = repr(read_registry(path))
    except InvalidInputError as error:
        shown = told(error)
        named = str(path) in str(error)
    else:
        named = True
    assert named
    assert_untold(shown, HIDDEN)
