"""Opens what it is told to, as a file that somebody else may have written, and asks everything.

One line of JSON each way: the folder of an index, and how to open it, in; what every question was answered with, or the
name of the error, out. So whoever sends the next line knows which file a death belongs to.
"""

import json
import sys
import traceback
from hashlib import sha256

import numpy as np
from support import KEY, contents_of, plain

from cyborg_embedded import Client, CyborgError

DIMENSION = 6
VECTORS = np.random.default_rng(5).normal(size=(4, DIMENSION)).astype(np.float32)
EVERYTHING = ("distance", "metadata", "contents", "vector")
QUESTIONS = {
    "ids": lambda index: index.list_ids(),
    "items": contents_of,
    "absent": lambda index: index.get(["nobody", "i1"]),
    "near": lambda index: index.query(VECTORS, top_k=3),
    "all": lambda index: index.query(VECTORS[0], top_k=1000, include=EVERYTHING),
    "filtered": lambda index: index.query(VECTORS[1], top_k=4, filters={"n": {"$gte": 30}}),
    "count": lambda index: index.count({"tag": "odd"}),
    "in order": lambda index: index.query_metadata({"n": {"$lt": 40}}, order_by="n"),
    "sequence": lambda index: [index.sequence, index.commit_id, len(index)],
}


def answer(question, index):
    """["is", digest of the answer], ["error", its name] or ["wrong", what else came]."""
    try:
        given = repr(plain(question(index)))
    except CyborgError as error:
        return ["error", type(error).__name__]
    except BaseException:
        return ["wrong", traceback.format_exc()]
    return ["is", sha256(given.encode()).hexdigest()]


def ask_all(folder, **options):
    """All questions to the index in a folder; or, under "open", why it does not open."""
    opened = []

    def open_it(_):
        opened.append(client.load_index("notes", index_key=KEY, lock_timeout=2, **options))

    with Client(folder) as client:
        answers = {"open": answer(open_it, None)}
        for index in opened:
            for name, question in QUESTIONS.items():
                answers[name] = answer(question, index)
            index.close()
    return answers


if __name__ == "__main__":
    for line in sys.stdin:
        place, how = json.loads(line)
        print(json.dumps(ask_all(place, **how)), flush=True)
