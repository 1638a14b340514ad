"""Mixed work for a long time: whatever an index takes is to level off.

    python bench/soak.py [--minutes N] [--rows N] [--out FOLDER]

One handle is written to and queried by turns: items replaced, deleted and put back, metadata
changed, filters, contents, `optimize` now and then; another handle is opened, asked and closed
again and again, and so is one of another process; every tenth of the time the index is compacted,
rekeyed or backed up. File size, anonymous memory, open descriptors and LMDB's reader slots are
noted and drawn (soak.svg). The index never holds more than `--rows` items.

Prints the figures of the second fifth of the time beside those of the last: what levels off is
the same in both. Ends with `verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cyborg_embedded import Client, EncryptedIndex

DIMENSION = 96
BATCH = 200
FIELDS = ("file_mb", "anonymous_mb", "descriptors", "readers")
ASK = """
import sys
from cyborg_embedded import Client
key = bytes.fromhex(sys.stdin.read())
with Client(sys.argv[1]) as client, client.load_index("soak", index_key=key) as index:
    index.query([1.0] * index.dimension, top_k=3)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--rows", type=int, default=20_000, help="most items at a time (20,000)")
    parser.add_argument("--out", default="bench/out", help="where the drawing goes")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        samples, sound = soak(folder, options.rows, 60 * options.minutes)
    finally:
        shutil.rmtree(folder)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(samples, indent=1), encoding="utf-8")
    draw(samples, out / "soak.svg")
    show(samples, sound=sound)


def soak(folder: Path, rows: int, seconds: float) -> tuple[list[dict[str, float]], bool]:
    """What was noted, and whether the index is sound in the end."""
    rng = np.random.default_rng(1)
    samples: list[dict[str, float]] = []
    with Client(folder / "indexes") as client:
        key = client.generate_key()
        index = client.create_index("soak", index_key=key, dimension=DIMENSION)
        begun, turn, care = time.monotonic(), 0, 0
        while time.monotonic() - begun < seconds:
            work(index, rng, rows)
            turn += 1
            if turn % 20 == 0:
                look_in(folder / "indexes", client, key)
            passed = time.monotonic() - begun
            if passed > (care + 1) * seconds / 10:
                key = take_care(index, client, key, folder / f"backup-{care}", care)
                care += 1
            if passed >= len(samples) * seconds / 200:
                samples.append({"s": passed, **state_of(folder / "indexes" / "soak.cyb")})
        sound = index.verify().ok
        index.close()
    return samples, sound


def work(index: EncryptedIndex, rng: np.random.Generator, rows: int) -> None:
    """One turn of writing and asking."""
    numbers = rng.choice(rows, BATCH, replace=False).tolist()
    names = [f"item {number}" for number in numbers]
    vectors = rng.normal(size=(BATCH, DIMENSION)).astype(np.float32)
    metadata = [{"n": number, "word": f"word {number % 97}"} for number in numbers]
    contents = ["text " * (number % 300) for number in numbers]
    index.upsert(names, vectors, metadata, contents)
    index.upsert(names[:50], vectors[:50], [{"n": -1}] * 50)
    index.delete(names[50:80])
    for vector in vectors[:20]:
        index.query(vector, include=["metadata", "contents"])
        index.query(vector, filters={"word": "word 5"})
    index.get(names)


def look_in(folder: Path, client: Client, key: bytes) -> None:
    """Another handle, here and in another process, for a moment."""
    with client.load_index("soak", index_key=key) as other:
        other.count({"n": {"$gte": 100}})
    child = [sys.executable, "-c", ASK, str(folder)]
    subprocess.run(child, input=key.hex(), text=True, check=True)


def take_care(index: EncryptedIndex, client: Client, key: bytes, backup: Path, care: int) -> bytes:
    """Something that is done seldom; the key that the index has then."""
    if care % 3 == 0:
        index.optimize()
        index.compact()
    elif care % 3 == 1:
        key = client.generate_key()
        index.rekey(key)
    else:
        index.backup(backup, check=True)
        backup.unlink()
    return key


def state_of(path: Path) -> dict[str, float]:
    """What the process and the file take now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (anonymous,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return {
        "file_mb": path.stat().st_size / 1e6,
        "anonymous_mb": int(anonymous.split()[1]) / 1e3,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "readers": readers_of(path),
    }


def readers_of(path: Path) -> int:
    """Slots in LMDB's lock file that some process has taken, without opening it: closing a
    descriptor of it here would drop LMDB's locks. What is mapped is read through /proc.
    """
    with open("/proc/self/maps", encoding="utf-8") as maps:
        spans = [line.split()[0] for line in maps if line.rstrip().endswith(f"{path}-lock")]
    if not spans:
        return 0
    start, end = (int(part, 16) for part in spans[0].split("-"))
    with open("/proc/self/mem", "rb") as memory:
        memory.seek(start)
        table = memory.read(end - start)
    # A slot is a cache line of 64 bytes: transaction (u64), process (u32 or i64), thread; the
    # first two lines are the head.
    slots = np.frombuffer(table[128 : 128 + (len(table) - 128) // 64 * 64], "<u8").reshape(-1, 8)
    return int(np.count_nonzero(slots[:, 1] & 0xFFFFFFFF))


def show(samples: list[dict[str, float]], *, sound: bool) -> None:
    """The second fifth of the time beside the last."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples, samples[-fifth:]
    print("| what | second fifth, most | last fifth, most |\n| --- | --- | --- |")
    for name in FIELDS:
        first, last = (max(each[name] for each in part) for part in (early, late))
        print(f"| {name} | {first:.1f} | {last:.1f} |")
    print(f"\nverify: {'sound' if sound else 'DAMAGED'}")


def draw(samples: list[dict[str, float]], path: Path) -> None:
    """Everything over time, where matplotlib is there."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return
    figure, axes = plt.subplots(len(FIELDS), sharex=True, figsize=(8, 8), layout="constrained")
    drawn: Any
    for drawn, name in zip(axes, FIELDS, strict=True):
        drawn.plot([each["s"] / 60 for each in samples], [each[name] for each in samples])
        drawn.set_ylabel(name)
        drawn.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path)


if __name__ == "__main__":
    main()
