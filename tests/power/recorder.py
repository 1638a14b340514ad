"""What reaches the disk, in which order: commits of LMDB, and what happens to names of files.

LMDB 0.9 writes the pages of a commit, calls fdatasync, and then writes 120 bytes of a meta page
through a descriptor with O_DSYNC (`test_order.py` sees that it does). So what a commit has written
is found by comparing the file before and after it.
"""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cyborg_embedded.environment import Environment

BLOCK = 4096
SUFFIXES = (".cyb", ".copy")
ORDERED = {"sync": True, "metasync": True, "writemap": False, "map_async": False}
"""Without these, LMDB promises nothing of the order."""


class Commit(NamedTuple):
    """One commit to a file: all of it before and after."""

    file: int
    before: bytes
    after: bytes


class Unsynced(NamedTuple):
    """Bytes written to a file, of which nobody knows yet whether they are on the disk."""

    file: int
    after: bytes


class Synced(NamedTuple):
    """All of a file is on the disk."""

    file: int


class Named(NamedTuple):
    """A name goes (`file` is None), or is that of a file from now on."""

    name: str
    file: int | None


class FolderSynced(NamedTuple):
    """All names are on the disk."""


class Done(NamedTuple):
    """A call has returned."""

    number: int


class Recorder:
    """Everything that happens in one folder, as events."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.files = set()
        self.events = []

    def inside(self, path):
        """The name of a file, if it is one that matters here."""
        parent, name = os.path.split(os.path.abspath(os.fspath(path)))
        ours = parent == self.folder and (name.endswith(SUFFIXES) or ".copy.part-" in name)
        return name if ours else None

    @contextmanager
    def watching(self, monkeypatch):
        """Take notes of what this process does."""
        with monkeypatch.context() as patch:
            self._watch_files(patch)
            self._watch_names(patch)
            yield

    def _watch_files(self, patch):
        write, copy, fsync = Environment.write, Environment.copy, os.fsync

        def watched_write(environment, work):
            flags = environment._live().flags()
            assert {name: flags[name] for name in ORDERED} == ORDERED
            before = Path(environment.path).read_bytes()
            result = write(environment, work)
            file = os.stat(environment.path).st_ino
            if file not in self.files:
                # It was made just now, with a name that nobody looks for.
                self.files.add(file)
                self.events.append(Named(self.inside(environment.path), file))
            self.events.append(Commit(file, before, Path(environment.path).read_bytes()))
            return result

        def watched_copy(environment, path):
            copy(environment, path)
            self.events.append(Unsynced(os.stat(path).st_ino, Path(path).read_bytes()))
            self.events.append(Named(os.path.basename(path), os.stat(path).st_ino))

        def watched_fsync(fd):
            fsync(fd)
            same = os.path.samestat(os.fstat(fd), os.stat(self.folder))
            self.events.append(FolderSynced() if same else Synced(os.fstat(fd).st_ino))

        patch.setattr(Environment, "write", watched_write)
        patch.setattr(Environment, "copy", watched_copy)
        patch.setattr(os, "fsync", watched_fsync)

    def _watch_names(self, patch):
        def watched_move(move, keep):
            def moved(source, target):
                file = os.stat(source).st_ino
                move(source, target)
                if self.inside(target):
                    self.events.append(Named(self.inside(target), file))
                if self.inside(source) and not keep:
                    self.events.append(Named(self.inside(source), None))

            return moved

        def watched_unlink(path):
            unlink(path)
            if self.inside(path):
                self.events.append(Named(self.inside(path), None))

        unlink = os.unlink
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, watched_move(getattr(os, name), keep=name == "link"))
        patch.setattr(os, "unlink", watched_unlink)
