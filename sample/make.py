"""Make the bundled sample from the folder of the full data set: `python sample/make.py FOLDER`."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np

ROWS = 2_000
QUERIES = 60


def lines(path: Path) -> list[str]:
    """The lines of a gzipped text file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def main(source: Path, target: Path) -> None:
    """Write the sample to `target`. The same source gives the same files, byte for byte."""
    stem = "wordnet-minilm"
    # The full set is shuffled, so that its first rows are a random sample of it.
    vectors = np.load(source / f"{stem}-vectors.npy")[:ROWS]
    np.save(target / "vectors.npy", vectors)
    texts = lines(source / f"{stem}-texts.txt.gz")[:ROWS]
    records = lines(source / f"{stem}-metadata.jsonl.gz")[:ROWS]
    with (target / "items.jsonl").open("w", encoding="utf-8") as file:
        for record, text in zip(records, texts, strict=True):
            item = json.loads(record) | {"text": text}
            file.write(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n")

    # Few of 1,000 random words have anything near them among so few rows: keep those that do.
    queries = np.load(source / f"{stem}-queries.npy")
    words = lines(source / f"{stem}-queries.txt.gz")
    nearness = (queries.astype(np.float32) @ vectors.astype(np.float32).T).max(axis=1)
    chosen = np.sort(np.argsort(-nearness, kind="stable")[:QUERIES])
    np.save(target / "queries.npy", queries[chosen])
    (target / "queries.txt").write_text(
        "".join(words[row] + "\n" for row in chosen), encoding="utf-8"
    )
    shutil.copyfile(source / "LICENSE.wordnet", target / "LICENSE.wordnet")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python sample/make.py FOLDER")
    main(Path(sys.argv[1]), Path(__file__).parent)
