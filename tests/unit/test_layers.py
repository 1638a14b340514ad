"""The structure of the package: layers, sizes, who may import what, and what nobody may do."""

import ast
from pathlib import Path

import pytest

import cyborg_embedded

PACKAGE = Path(cyborg_embedded.__file__).parent
LONGEST = 320

# From the bottom up. A module imports only from layers above it in this list, for types too: a
# name that stands only in an annotation is still something that the module knows about.
LAYERS = {
    "values": {"errors", "model"},
    "numbers": {"smallest"},
    "leaves": {
        "aead",
        "arrangement",
        "beams",
        "checks",
        "distance",
        "durable",
        "effort",
        "envelopes",
        "failures",
        "fields",
        "filecheck",
        "gate",
        "growing",
        "jsonvalues",
        "keys",
        "lockfiles",
        "locks",
        "names",
        "padding",
        "predicates",
        "precision",
        "schema",
    },
    "over leaves": {
        "column",
        "filters",
        "header",
        "kms.configuration",
        "kms.hush",
        "kms.manager",
        "planner",
        "projection",
    },
    "over projections": {"components", "ranking"},
    "key wrapping": {"kms.aws", "kms.wrapping"},
    "secrets at hand": {"kms.secret"},
    "key managers": {
        "kms.aws_kms",
        "kms.aws_secrets_manager",
        "kms.environment_variable",
        "kms.key_file",
        "kms.keychain",
        "kms.passphrase",
    },
    "registry of key managers": {"kms.__init__", "kms.registry", "transactions"},
    "files and records": {"custody", "environment", "root", "savedkey"},
    "pages": {"folder", "pages", "registry"},
    "homes": {"home"},
    "kinds of pages": {
        "blobs",
        "ids",
        "itemids",
        "items",
        "links",
        "store",
        "streaming",
        "tombstones",
    },
    "over pages": {
        "columnpages",
        "frontier",
        "graphstate",
        "itemcache",
        "navigation",
        "payloads",
        "spans",
        "vectors",
    },
    "over links": {"batch", "graph", "masks", "pool"},
    "over graphs": {"resting"},
    "navigator": {"navigator"},
    "residency": {"residency"},
    "state": {"state"},
    "over a state": {"coarse", "columnset", "ordering", "results", "rows", "search"},
    "caches": {"caches"},
    "lives of handles": {"lifecycle"},
    "session": {"session"},
    "over a session": {"groundcheck", "salvaging", "lease", "rewriting", "saving", "selection"},
    "checks of what is derived": {"derivedcheck"},
    "verification": {"verification"},
    "distrust": {"distrust"},
    "backups": {"backups", "repairing"},
    "filters over a session": {"filtered", "listing"},
    "queries": {"queries"},
    "building": {"building"},
    "indexer": {"indexer"},
    "background": {"background"},
    "reads": {"reads", "rekeying"},
    "index": {"index"},
    "clients": {"clientbase", "removal"},
    "key changes": {"keychanges"},
    "client": {"client"},
    "package": {"__init__"},
    "command line": {"cli.exits", "cli.folders", "cli.progress", "cli.terminal"},
    "what leaves and enters a command": {"cli.attending", "cli.destination"},
    "keys of a command": {"cli.keysources"},
    "what a command takes": {"cli.arguments", "cli.finding", "cli.rewrap"},
    "care": {"cli.care"},
    "commands": {"cli.commands"},
    "whole command line": {"cli.__init__"},
    "program": {"__main__"},
}
LAYER_OF = {module: place for place, modules in enumerate(LAYERS.values()) for module in modules}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}
MODULES = sorted(FILES)


def imports(name):
    """Everything that a module imports, anywhere in it, for types too: full dotted names."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name):
    """The modules of the package that a module imports."""
    prefix = PACKAGE.name + "."
    found = {each.removeprefix(prefix) for each in imports(name) if each.startswith(prefix)}
    return {each for each in found if each in FILES}


def test_every_module_has_a_layer():
    """The table names every module of the package once, and no module that is not there."""
    assert set(LAYER_OF) == set(FILES)
    assert sum(map(len, LAYERS.values())) == len(FILES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    """A module imports only from lower layers."""
    layer = LAYER_OF.get(name, len(LAYERS))
    upward = {each for each in own_imports(name) if LAYER_OF.get(each, len(LAYERS)) >= layer}
    assert not upward


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    """No module is longer than 320 lines."""
    assert len(FILES[name].read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize(("library", "owner"), [("lmdb", "environment"), ("hnswlib", "graph")])
def test_one_module_owns_a_library(library, owner):
    """Only one module imports lmdb, and only one hnswlib."""
    users = [
        name for name in MODULES if any(each.split(".")[0] == library for each in imports(name))
    ]
    assert users == [owner]


# What no module imports, and why.
UNWANTED_IMPORTS = {
    "pickle": "runs code from data",
    "marshal": "runs code from data",
    "shelve": "is pickle",
    "tempfile": "writes where nobody looks",
    "random": "is predictable",
    "logging": "nothing that we would say is fit for a log",
}
# It silences others, and says nothing itself.
EXCUSED = {"kms.hush": {"logging"}}
UNWANTED_CALLS = {"print", "eval", "exec", "compile", "__import__", "breakpoint", "input"}
UNWANTED_ATTRIBUTES = {"save_index", "load_index", "tofile", "savez", "memmap", "allow_pickle"}


@pytest.mark.parametrize("name", MODULES)
def test_nobody_does_this(name):
    """No pickle, no eval or print, no assert for validation, no file that hnswlib or numpy writes."""
    imported = {each.split(".")[0] for each in imports(name)}
    assert not imported & UNWANTED_IMPORTS.keys() - EXCUSED.get(name, set())
    for node in ast.walk(TREES[name]):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in UNWANTED_CALLS, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and not calls_own_method(node):
            assert node.attr not in UNWANTED_ATTRIBUTES, f"line {node.lineno}"
        if isinstance(node, ast.keyword):
            assert node.arg not in UNWANTED_ATTRIBUTES, f"line {node.value.lineno}"


def calls_own_method(node):
    """`self.load_index` and `client.load_index` are the client's own."""
    return isinstance(node.value, ast.Name) and node.value.id in {"self", "client"}


@pytest.mark.parametrize("name", MODULES)
def test_nobody_weakens_lmdb(name):
    """Durability and the choice of LMDB's engine are as the format wants them, everywhere."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.keyword):
            assert node.arg not in {"writemap", "map_async", "metasync", "nosync"}, name
            if node.arg == "lib_version":
                assert ast.literal_eval(node.value) == 0
            if node.arg in {"sync", "lock"}:
                assert ast.literal_eval(node.value) is True
