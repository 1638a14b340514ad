"""What `test_order.py` traces: commits, and files that take the place of others."""

import sys

from support import KEY

from cyborg_embedded import Client

if __name__ == "__main__":
    client = Client(sys.argv[1])
    with client.create_index("notes", index_key=KEY, dimension=2, indexing="manual") as index:
        for number in range(4):
            ids = [f"i{n}" for n in range(40 * (number + 1))]
            index.upsert(ids, [[1.0, number]] * len(ids), None, [b"x" * 3000] * len(ids))
        index.delete(["i1"])
        index.compact()
        index.rekey(bytes(32))
        index.backup(sys.argv[1] + "/kept.copy")
