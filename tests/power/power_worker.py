"""Opens what a loss of power has left, and says what is in it.

One line of JSON each way: a folder and the keys that its indexes may have in; for each index its
key's number and the digest of its contents, or an error, and what `verify` finds, out.
"""

import json
import sys
import traceback
from hashlib import sha256

from support import contents_of

from cyborg_embedded import Client, WrongKeyError


def digest(index):
    """What stands for all that an index holds."""
    return sha256(repr(sorted(contents_of(index), key=repr)).encode()).hexdigest()


def look(client, name, keys):
    """[number of its key, digest, problems] of one index."""
    for number, key in enumerate(keys):
        try:
            index = client.load_index(name, index_key=key, indexing="manual")
        except WrongKeyError:
            continue
        with index:
            report = index.verify()
            return [number, digest(index), [problem.message for problem in report.problems]]
    return [None, "", ["no key opens it"]]


def look_at_all(folder, keys):
    """What each index of a folder is."""
    found = {}
    with Client(folder) as client:
        for name in client.list_indexes():
            try:
                found[name] = look(client, name, keys)
            except BaseException:
                found[name] = [None, "", [traceback.format_exc()]]
        # What is left of a file that has no name yet keeps nobody from going on.
        client.create_index("another", index_key=keys[0], dimension=2).close()
        client.delete_index("another", index_key=keys[0])
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(look_at_all(*json.loads(line))), flush=True)
