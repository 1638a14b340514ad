"""Keys: a new one for all rows, the same one in other hands, a wrong one, and room given back.

    python bench/keys.py [--data PATH] [--rows N] [--repeat N] [--out FOLDER]

`bench/run.py` has this as one of its parts; alone, it makes an index first. A rekey stands beside a
plain copy of the same file, through to the disk, made in the same run by turns. Prints a Markdown
table and writes it, and all figures as JSON, to bench/out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

from alone import measured_alone
from common import INDEX, say
from key_table import as_markdown
from rewraps import rewrapped

from cyborg_embedded import Client, WrongKeyError
from cyborg_embedded.aead import Opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from data import DataSet

    from cyborg_embedded import EncryptedIndex

WRONG = 1000
"""Tries with a wrong key."""
RIGHT = 20
"""Tries with the right one."""
DELETED = 5
"""One in so many rows is deleted before a compaction."""


def main() -> None:
    measured_alone(__doc__, "keys", with_keys, as_markdown, "how often each is done")


def with_keys(given: DataSet, folder: Path, key: bytes, repeat: int) -> dict[str, Any]:
    """All figures about keys, of copies of the finished index in `ours` of a folder."""
    figures: dict[str, Any] = {
        "rows": len(given.ids),
        "dimension": given.vectors.shape[1],
        "vectors_mb": given.vectors.nbytes / 1e6,
    }
    say("a wrong key ...")
    figures["wrong"] = wrong(folder / "ours", key)
    say("rekeying ...")
    figures["rekey"] = rekeyed(folder, key, given, repeat)
    say("compacting ...")
    figures["compact"] = compacted(folder, key, given, repeat)
    say("rewrapping ...")
    figures["rewrap"] = rewrapped(folder, given, repeat)
    return figures


def wrong(folder: Path, key: bytes) -> dict[str, Any]:
    """How long a wrong key takes to be refused, and the right one to open and close the index:
    median microseconds; pages that were opened meanwhile; whether the file is as it was.
    """
    client, other = Client(folder), bytes(reversed(key))
    file = folder / f"{INDEX}.cyb"
    before = digest(file)

    def refused() -> None:
        try:
            client.load_index(INDEX, index_key=other)
        except WrongKeyError:
            return
        message = "a wrong key has opened the index"
        raise RuntimeError(message)

    with counted_pages() as opened:
        times = [seconds(refused) for _ in range(WRONG)]
        pages = sum(opened)
        load(client, key).close()
        if sum(opened) == pages:
            message = "pages that are opened are not counted"
            raise RuntimeError(message)
    right = [seconds(lambda: load(client, key).close()) for _ in range(RIGHT)]
    return {
        "tries": WRONG,
        "us": 1e6 * statistics.median(times),
        "right_us": 1e6 * statistics.median(right),
        "pages": pages,
        "unchanged": digest(file) == before,
    }


def rekeyed(folder: Path, key: bytes, given: DataSet, repeat: int) -> dict[str, Any]:
    """Median seconds of a rekey and of a plain copy of the file, by turns, and of their ratios."""
    client = copied(folder, "rekeyed")
    file = folder / "rekeyed" / f"{INDEX}.cyb"
    rekeys, copies = [], []
    for turn in range(repeat):
        new = client.generate_key()
        with load(client, key) as index:
            if turn % 2:
                copies.append(seconds(lambda: plain_copy(file)))
            rekeys.append(seconds(lambda new=new, index=index: index.rekey(new)))
            if not turn % 2:
                copies.append(seconds(lambda: plain_copy(file)))
        key = new
    with load(client, key) as index:
        described = index.describe()
        right = index.list_ids() == given.ids and described["indexed_rows"] == len(given.ids)
    taken = statistics.median(rekeys)
    return {
        "s": taken,
        "copy_s": statistics.median(copies),
        "ratio": statistics.median(a / b for a, b in zip(rekeys, copies, strict=True)),
        "vectors_mb_s": given.vectors.nbytes / 1e6 / taken,
        "file_mb": described["file_bytes"] / 1e6,
        "each_s": rekeys,
        "each_copy_s": copies,
        "right": right,
    }


def compacted(folder: Path, key: bytes, given: DataSet, repeat: int) -> dict[str, Any]:
    """Median seconds of a compaction of which one in DELETED rows is to go; the sizes of the file
    before and after, in megabytes, and before the deletion.
    """
    times, left = [], len(given.ids) - len(given.ids[::DELETED])
    sizes: dict[str, float] = {}
    right = True
    for _ in range(repeat):
        with load(copied(folder, "compacted"), key) as index:
            sizes["full_mb"] = file_mb(index)
            index.delete(given.ids[::DELETED])
            sizes["before_mb"] = file_mb(index)
            times.append(seconds(index.compact))
            sizes["after_mb"] = file_mb(index)
            described = index.describe()
            right &= (described["rows"], described["deleted_rows"]) == (left, 0)
    return {
        "s": statistics.median(times),
        "deleted": len(given.ids) - left,
        **sizes,
        "right": right,
    }


def copied(folder: Path, name: str) -> Client:
    """A client of a copy of the finished index."""
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).mkdir()
    shutil.copyfile(folder / "ours" / f"{INDEX}.cyb", folder / name / f"{INDEX}.cyb")
    return Client(folder / name)


def load(client: Client, key: bytes) -> EncryptedIndex:
    return client.load_index(INDEX, index_key=key, indexing="manual")


def plain_copy(file: Path) -> None:
    """Copy a file as it is, through to the disk."""
    target = file.with_suffix(".copy")
    with file.open("rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    target.unlink()


@contextlib.contextmanager
def counted_pages() -> Iterator[list[int]]:
    """A list that gets how many pages each call opens within the with block."""
    opened: list[int] = []
    known = {"open": Opener.open, "open_each_into": Opener.open_each_into}

    def one(opener: Opener, *arguments: Any) -> Any:
        opened.append(1)
        return known["open"](opener, *arguments)

    def each(opener: Opener, get: Any, keys: list[bytes], *arguments: Any) -> Any:
        opened.append(len(keys))
        return known["open_each_into"](opener, get, keys, *arguments)

    try:
        setattr(Opener, "open", one)  # noqa: B010
        setattr(Opener, "open_each_into", each)  # noqa: B010
        yield opened
    finally:
        for name, real in known.items():
            setattr(Opener, name, real)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def file_mb(index: EncryptedIndex) -> float:
    return index.describe()["file_bytes"] / 1e6


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
