"""A tour on real data: `python examples/demo.py [FOLDER]`, or `make demo`.

Stores the bundled sample encrypted, searches it, and looks for any trace of it in the files.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cyborg_embedded
from cyborg_embedded import Client, EncryptedIndex, WrongKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "sample"
WIDTH = 96
PIECE = 8
EXAMPLE = "the job of delivering newspapers regularly"
WORDS = ("cardiac muscle", "evaporative cooler", "rinse")
SHOWN = ("distance", "metadata", "contents")


class Sample:
    """The bundled sample: what is stored, and what is asked."""

    def __init__(self) -> None:
        with (SAMPLE / "items.jsonl").open(encoding="utf-8") as file:
            self.metadata: list[dict[str, Any]] = [json.loads(line) for line in file]
        self.texts: list[str] = [record.pop("text") for record in self.metadata]
        self.ids: list[str] = [record["synset"] for record in self.metadata]
        self.vectors = np.load(SAMPLE / "vectors.npy").astype(np.float32)
        self.queries = np.load(SAMPLE / "queries.npy").astype(np.float32)
        self.words = (SAMPLE / "queries.txt").read_text(encoding="utf-8").splitlines()


def main() -> None:
    """Run every step; one that does not hold ends the program with a message."""
    folder = prepare_folder()
    sample = Sample()
    print(f"cyborg_embedded {cyborg_embedded.__version__}, an encrypted vector store as a library")
    print(f"{len(sample.ids):,} dictionary definitions with their embeddings, from sample/")

    client = Client(folder)
    key, index = store(client, folder, sample)
    answers = search(index, sample)
    index.close()
    look_for_plaintext(folder, sample, key)
    reopen(client, key, sample, answers)

    print(f"\nThat is all. The encrypted files are in {shown(folder)} for you to look at;")
    print("their key is gone now, so nobody can read them any more.")


def store(client: Client, folder: Path, sample: Sample) -> tuple[bytes, EncryptedIndex]:
    """Steps 1 to 3: write the sample. Returns the key and the open index."""
    with step("1. Create an index under a fresh 256-bit key"):
        key = client.generate_key()
        dimension = sample.vectors.shape[1]
        index = client.create_index("demo", index_key=key, dimension=dimension, metric="cosine")
    note(f"{shown(folder)}demo.cyb; the key is held by this program and written nowhere")

    with step(f"2. Upsert {len(sample.ids):,} items: id, vector, metadata, text"):
        index.upsert(sample.ids, sample.vectors, sample.metadata, sample.texts)
    note("one commit: encrypted, and on disk when the call returns")

    with step("3. Optimize: build the search graph and save it, encrypted too"):
        index.optimize()
    about = index.describe()
    note(f"{about['indexed_rows']:,} of {about['rows']:,} items are in the graph")
    return key, index


def search(index: EncryptedIndex, sample: Sample) -> list[Any]:
    """Steps 4 to 6: ask. Returns the answers to all queries of the sample."""
    with step("4. Search by example: what is like this item?"):
        item = index.get([sample.ids[sample.texts.index(EXAMPLE)]], include=["vector"])[0]
        results = index.query(item["vector"], top_k=4, include=SHOWN)
    note(f"{'distance':>9}   {'word':24}definition")
    show(results)

    with step("5. Search with the embeddings of words that are not in the index"):
        rows = [sample.words.index(word) for word in WORDS]
        batch = index.query(sample.queries[rows], top_k=3, include=SHOWN)
    for word, results in zip(WORDS, batch, strict=True):
        note(f'"{word}"')
        show(results)

    answers, took = ask_all(index, sample)
    heading(f"6. Compare {len(answers)} searches with an exact search in plain numpy", took)
    found = recall(answers, sample)
    note(f"{found:.1%} of the true 10 nearest found; {took / len(answers):.2f} ms a search")
    if found < 0.95:
        sys.exit("the search missed more than it should")
    return answers


def look_for_plaintext(folder: Path, sample: Sample, key: bytes) -> None:
    """Step 7: every byte of every file, against everything that was stored."""
    with step("7. Close, and look through every byte of the files for what was stored"):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        sealed = b"".join(path.read_bytes() for path in files)
        report = compare(sample, key, sealed)
    note(f"All is cut into pieces of {PIECE} bytes; each is looked for at every place, first in")
    note(f"the same data unencrypted, then in the {len(sealed):,} bytes of {shown(folder)}")
    note(f"{'':36}{'pieces':>12}{'unencrypted':>16}{'encrypted':>16}")
    for name, pieces, in_plain, in_sealed in report:
        note(f"{name:36}{pieces:>12,}{in_plain:>10,} found{in_sealed:>10,} found")
    if any(in_sealed or in_plain != pieces for _, pieces, in_plain, in_sealed in report):
        sys.exit("plaintext was found in the files, or the search for it does not work")


def reopen(client: Client, key: bytes, sample: Sample, answers: list[Any]) -> None:
    """Steps 8 and 9: a wrong key, and the right one."""
    with step("8. Open with a wrong key"):
        refusal = refused(client)
    note(f"{type(refusal).__name__}: {refusal}")

    with step("9. Open with the right key, and ask the first question"):
        index = client.load_index("demo", index_key=key)
        index.query(sample.queries[0])
    again, _ = ask_all(index, sample)
    if again != answers:
        sys.exit("the answers differ from those before")
    note(f"{len(index):,} items; all {len(again)} answers are those of step 6, to the last bit")
    index.close()


def prepare_folder() -> Path:
    """The folder to work in: one given as argument, empty or missing, or demo-data/, emptied."""
    if len(sys.argv) > 2:
        sys.exit("usage: python examples/demo.py [FOLDER]")
    if len(sys.argv) == 2:
        folder = Path(sys.argv[1])
        if folder.exists() and any(folder.iterdir()):
            sys.exit(f"{folder} is not empty")
        return folder
    folder = ROOT / "demo-data"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def ask_all(index: EncryptedIndex, sample: Sample) -> tuple[list[Any], float]:
    """Every query, one at a time: the answers, and milliseconds in all."""
    start = time.perf_counter()
    answers = [index.query(query, include=["distance"]) for query in sample.queries]
    return answers, 1000 * (time.perf_counter() - start)


def recall(answers: list[Any], sample: Sample) -> float:
    """The share of the true 10 nearest items among the answers (recall@10)."""
    cosine = sample.queries @ sample.vectors.T / np.linalg.norm(sample.vectors, axis=1)
    hits = 0
    for answer, row in zip(answers, cosine, strict=True):
        truth = {sample.ids[place] for place in np.argsort(-row)[:10]}
        hits += sum(result["id"] in truth for result in answer)
    return hits / (10 * len(answers))


def compare(sample: Sample, key: bytes, sealed: bytes) -> list[tuple[str, int, int, int]]:
    """How many pieces of each secret there are, in a plaintext of all of them, and in `sealed`."""
    lemmas = [record["lemma"] for record in sample.metadata]
    secrets = {
        "ids": [text.encode() for text in sample.ids],
        "texts": [text.encode() for text in sample.texts],
        "metadata: the words defined": [text.encode() for text in lemmas],
        "vectors": [sample.vectors.tobytes()],
        "index key, raw and in hex": [key, key.hex().encode()],
    }
    plain = b"".join(part for parts in secrets.values() for part in parts)
    report = []
    for name, parts in secrets.items():
        pieces = np.unique(np.concatenate([cut(part) for part in parts]))
        report.append((name, len(pieces), count(pieces, plain), count(pieces, sealed)))
    return report


def cut(secret: bytes) -> np.ndarray:
    """A secret cut into pieces of 8 bytes, each as one number; the rest of it is left out."""
    return np.frombuffer(secret, np.uint64, count=len(secret) // PIECE)


def count(pieces: np.ndarray, data: bytes) -> int:
    """How many of the pieces (sorted, distinct) occur in the data, at any place."""
    seen = np.zeros(len(pieces), np.bool_)
    for offset in range(PIECE):
        there = cut(data[offset:])
        place = np.searchsorted(pieces, there)
        place[place == len(pieces)] = 0
        seen[place[pieces[place] == there]] = True
    return int(seen.sum())


def refused(client: Client) -> WrongKeyError:
    """What is said to somebody who tries another key."""
    try:
        client.load_index("demo", index_key=client.generate_key())
    except WrongKeyError as error:
        return error
    sys.exit("a wrong key was accepted")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Time a step and print its heading when it is done."""
    start = time.perf_counter()
    yield
    heading(title, 1000 * (time.perf_counter() - start))


def heading(title: str, milliseconds: float) -> None:
    """The title of a step, and how long it took."""
    print(f"\n{title:{WIDTH - 12}}{milliseconds:>9,.1f} ms")


def note(text: str) -> None:
    """A line below a heading."""
    print(f"   {text}")


def show(results: Iterable[Any]) -> None:
    """Results, a line each: distance, the word that the text defines, the text."""
    for result in results:
        line = f"{result['distance']:9.3f}   {result['metadata']['lemma']:24}{result['contents']}"
        note(line if len(line) <= WIDTH - 3 else line[: WIDTH - 6] + "...")


def shown(folder: Path) -> str:
    """A folder as a user would write it."""
    return f"{folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder.name}/"


if __name__ == "__main__":
    main()
