"""Makes the golden files anew. Only for a new version of the format: those that are here are to be
read for ever as they are.
"""

import json
import os
import tempfile
from pathlib import Path

from golden_data import (
    COUNT,
    DELETED,
    DIMENSION,
    EXPECTED,
    HERE,
    KEY,
    PASSPHRASE,
    REPLACED,
    contents_of,
    item,
    left,
)

from cyborg_embedded import Client
from cyborg_embedded.folder import Folder
from cyborg_embedded.kms import Passphrase
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore


def fill(index):
    """Bring the items into an index, in several commits."""
    for numbers, version in ((range(COUNT), 0), (REPLACED, 1)):
        items = [item(number, version) for number in numbers]
        index.upsert([{**each, "contents": contents_of(each)} for each in items])
    index.delete(list(DELETED))
    index.optimize()


def make_supplied(place):
    """An index under a supplied key, with small pages, deleted rows and all."""
    with Folder(place).creating("supplied", timeout=10) as path:
        root = Root(sequence=1, metric="cosine", dimension=DIMENSION)
        PageStore.create(path, KEY, root, page_size=512)
    with Client(place).load_index("supplied", index_key=KEY, indexing="manual") as index:
        fill(index)
        index.backup(HERE / "supplied.cyb")


def make_managed(place):
    """An index under a passphrase, in int8, compacted."""
    client = Client(place, kms={"owner": Passphrase(PASSPHRASE, memory_kib=64, passes=1)})
    with client.create_index(
        "managed", kms_name="owner", storage_precision="int8", indexing="manual"
    ) as index:
        fill(index)
        index.compact()
        index.backup(HERE / "managed.cyb")


def main():
    """Make both files, and what they hold."""
    for name in ("supplied", "managed"):
        Path(HERE / f"{name}.cyb").unlink(missing_ok=True)
    text = json.dumps(left(), ensure_ascii=False, indent=1)
    EXPECTED.write_text(text + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        make_supplied(place)
        make_managed(place)
    for name in ("supplied", "managed"):
        os.chmod(HERE / f"{name}.cyb", 0o644)


if __name__ == "__main__":
    main()
