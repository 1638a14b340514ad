"""A guard around all suites: no key that the library handles shows in an error or a log record.

`LeakGuard.installed` wraps what makes keys, the constructor of every error of the library, and the
root logger. Keys are remembered as long as the process lives, texts until they are checked.
"""

import binascii
import codecs
import functools
import logging
import re
import sys

from cyborg_embedded import CyborgError, keys

KEY_BYTES = 32
FEWEST_DISTINCT = 8
"""Keys with fewer distinct bytes are constants of tests, such as 32 zeros."""
CLIENTS_OF_SERVICES = ("botocore", "boto3", "urllib3", "moto", "werkzeug")
"""What these log of their own requests at DEBUG is not this library's to say."""
ESCAPE = re.compile(rb"\\(?:x[0-9a-f]{2}|[nrt'\"\\])")
HEX = re.compile(rb"[0-9A-Fa-f]{64,}")
BASE64 = re.compile(rb"[0-9A-Za-z+/_-]{43,}")
URL_SAFE = bytes.maketrans(b"-_", b"+/")


def spelled_out(text):
    """All byte strings that a text may stand for: itself, its escapes, hex and base64 in it."""
    data = text.encode("latin-1", "replace")
    yield data
    if b"\\" in data:
        yield ESCAPE.sub(lambda match: codecs.escape_decode(match[0])[0], data)
    for match in HEX.findall(data):
        for start in (0, 1):
            end = len(match) - (len(match) - start) % 2
            yield bytes.fromhex(match[start:end].decode())
    for match in BASE64.findall(data):
        for start in range(4):
            part = match[start:].translate(URL_SAFE)
            part = part[: len(part) - (len(part) % 4 == 1)]
            yield binascii.a2b_base64(part + b"=" * (-len(part) % 4))


class LeakGuard(logging.Handler):
    """The keys that were handled, and the texts that may show one of them."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.keys = set()
        self.texts = set()

    def saw(self, key):
        """Remember a key."""
        raw = bytes(key)
        if len(set(raw)) >= FEWEST_DISTINCT:
            self.keys.add(raw)

    def told(self, error):
        """Remember what an error says."""
        self.texts.add(str(error))
        self.texts.add(repr(error))

    def emit(self, record):
        """Remember a log record, with the error in it."""
        if not record.name.startswith(CLIENTS_OF_SERVICES):
            self.texts.add(self.format(record))

    def shows_key(self, text):
        """Whether one of the keys is in a text: raw, escaped, in hex or in base64."""
        known = self.keys
        return any(
            data[at : at + KEY_BYTES] in known
            for data in spelled_out(text)
            for at in range(len(data) - KEY_BYTES + 1)
        )

    def check(self):
        """Raise `AssertionError` if one of the texts since the last check shows a key."""
        texts, self.texts = self.texts, set()
        shown = [text for text in texts if len(text) >= KEY_BYTES and self.shows_key(text)]
        assert not shown, f"a key shows in {shown}"

    def install(self):
        """Be told of every key, error and log record of this process from now on."""
        for function in (keys.derive_keys, keys.parse_index_key, keys.generate_index_key):
            replace_everywhere(function, self._watching(function))
        CyborgError.__init__ = self._telling()
        logging.getLogger().addHandler(self)
        logging.getLogger("cyborg_embedded").setLevel(logging.DEBUG)
        return self

    def _watching(self, function):
        @functools.wraps(function)
        def watched(*arguments, **options):
            made = function(*arguments, **options)
            for key in (made.pages, made.ids) if isinstance(made, keys.DerivedKeys) else (made,):
                self.saw(key)
            return made

        return watched

    def _telling(self):
        def __init__(error, *arguments, **options):  # noqa: N807 - it becomes one
            super(CyborgError, error).__init__(*arguments, **options)
            self.told(error)

        return __init__


def replace_everywhere(old, new):
    """Put a function in the place of another one in all modules of the package."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "cyborg_embedded":
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)
