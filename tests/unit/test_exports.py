"""What the package and its modules export, and the tree of errors as it is drawn."""

import importlib
import pkgutil
import re

import pytest

import cyborg_embedded
from cyborg_embedded import errors

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(cyborg_embedded.__path__, "cyborg_embedded.")
)


def order(name):
    """Constants, then classes, then the rest, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def exports(name):
    module = importlib.import_module(name)
    return module, module.__all__


def test_package_exports_are_sorted_and_complete():
    """`__all__` of the package is sorted and lists exactly its public names."""
    module, names = exports("cyborg_embedded")
    assert names == sorted(names, key=order)
    submodules = {name.rpartition(".")[2] for name in MODULES}
    public = {name for name in vars(module) if not name.startswith("_") and name not in submodules}
    assert set(names) == public | {"__version__"}


def test_every_error_is_exported():
    """Every error can be imported from the package itself."""
    assert set(errors.__all__) <= set(cyborg_embedded.__all__)
    for name in errors.__all__:
        assert getattr(cyborg_embedded, name) is getattr(errors, name)


@pytest.mark.parametrize("name", MODULES)
def test_module_exports(name):
    """`__all__` of every module is sorted, without repetitions, and its names exist."""
    module, names = exports(name)
    assert list(names) == sorted(set(names), key=order)
    for each in names:
        assert hasattr(module, each), each


@pytest.mark.parametrize("name", ["cyborg_embedded", *MODULES])
def test_everything_exported_is_documented(name):
    """Every module, and every class and function that it exports, says what it promises."""
    module, names = exports(name)
    assert module.__doc__
    for each in names:
        value = getattr(module, each)
        if getattr(value, "__module__", "").startswith("cyborg_embedded"):
            assert (value.__doc__ or "").strip(), each


LINE = re.compile(
    r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>\w+Error)(?: +\((?P<built_in>\w+)\))?(?: {2,}|$)"
)


def drawn():
    """The tree in the docstring: name to parent and built-in base."""
    tree, path = {}, []
    for line in errors.__doc__.splitlines():
        match = LINE.match(line)
        if match:
            depth = len(match["branch"]) // 4
            del path[depth:]
            tree[match["name"]] = (path[-1] if path else None, match["built_in"])
            path.append(match["name"])
    return tree


def test_error_tree():
    """The tree drawn in errors.py is the tree of classes: names, parents, built-in bases."""
    actual = {}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            ours = [base.__name__ for base in value.__bases__ if base.__module__ == errors.__name__]
            others = [base.__name__ for base in value.__bases__ if base.__module__ == "builtins"]
            parent = ours[0] if ours else None
            built_in = others[0] if others and name != "CyborgError" else None
            assert len(ours) <= 1
            assert len(others) <= 1
            actual[name] = (parent, built_in)
    assert drawn() == actual
    assert sorted(actual) == list(errors.__all__)


def test_errors_carry_their_fields():
    """The fields that errors carry are there, and shown in the message where it says so."""
    error = errors.InvalidInputError("is bad", item=17)
    assert (error.item, str(error)) == (17, "item 17: is bad")
    assert errors.InvalidInputError("is bad").item is None
    error = errors.IntegrityError("gone", kind="ITEMS", number=3)
    assert (error.kind, error.number, str(error)) == ("ITEMS", 3, "ITEMS page 3: gone")
    error = errors.IntegrityError("gone")
    assert (error.kind, error.number, str(error)) == (None, None, "gone")
    error = errors.RollbackError("older", sequence=3, expected=5)
    assert (error.sequence, error.expected) == (3, 5)
    error = errors.LockedError("locked", pid=12)
    assert (error.pid, str(error)) == (12, "locked (held by process 12)")
    assert errors.LockedError("locked").pid is None
