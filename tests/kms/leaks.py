"""What the suites of key managers share: a context, and looking for secrets in what is told."""

import copy
import pickle
import traceback

import pytest

from cyborg_embedded.kms import KeyContext

CONTEXT = KeyContext(bytes(range(16)))
OTHER = KeyContext(bytes(range(1, 17)))
INDEX_KEY = bytes(range(100, 132))
SECRET = bytes(range(0xC0, 0xE0))


def told(error):
    """All that an error tells: text, fields and arguments of it and of every error behind it."""
    parts, waiting, seen = [], [error], set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        fields = [getattr(each, name, None) for name in ("object", "doc", "msg", "obj")]
        parts += [str(each), repr(each), repr(each.args), repr(vars(each)), repr(fields)]
        waiting += [each.__cause__, each.__context__]
    parts += traceback.format_exception(error)
    return "\n".join(parts)


def spellings(secret):
    """The ways in which a secret may show in a text."""
    if isinstance(secret, str):
        return [secret, repr(secret)[1:-1]]
    return [secret.hex(), secret.hex().upper(), repr(secret)[2:-1], repr(list(secret))[1:-1]]


def assert_untold(text, *secrets):
    """None of the secrets is in a text."""
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling.casefold() not in text.casefold()


def assert_keeps_to_itself(manager, *secrets):
    """A key manager does not show secrets, and is neither pickled nor copied."""
    assert_untold(repr(manager) + str(manager) + manager.describe(), *secrets)
    assert manager.describe().startswith(manager.provider)
    for away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            away(manager)
        assert_untold(told(caught.value), *secrets)
