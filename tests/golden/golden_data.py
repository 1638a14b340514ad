"""What the golden files hold, in plain Python: the n-th item, and which items are left in the end."""

import json
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = HERE / "golden.json"
KEY = bytes(range(64, 96))
PASSPHRASE = "seven small golden words for a file"
DIMENSION = 4
COUNT = 24
REPLACED = range(2, COUNT, 7)
DELETED = ("id 6", "id 11", "ключ 17")


def item(number, version=0):
    """The n-th item: every number in it is exact in float32."""
    return {
        "id": f"{'ключ' if number % 4 == 1 else 'id'} {number}",
        "vector": [number / 4 - 2, version + 0.5, number % 3 - 1.25, 1.0],
        "metadata": [
            None,
            {},
            {"n": number, "é": [1.5, None, True, {"a": "x"}], "big": 2**70},
            {"n": number, "long": "m" * (500 + 20 * number)},
        ][number % 4],
        # JSON has no bytes: they are written in hex.
        "contents": [None, "", {"hex": "00ff80"}, f"text {number} ☃", "t" * 600, {"hex": ""}][
            number % 6
        ],
    }


def contents_of(each):
    """The contents of an item as the library takes and gives them."""
    contents = each["contents"]
    return bytes.fromhex(contents["hex"]) if isinstance(contents, dict) else contents


def left():
    """The items that are there in the end, by id."""
    items = {each["id"]: each for each in map(item, range(COUNT))}
    items |= {each["id"]: each for each in (item(number, 1) for number in REPLACED)}
    return {item_id: each for item_id, each in items.items() if item_id not in DELETED}


def expected():
    """What stands in golden.json."""
    return json.loads(EXPECTED.read_text(encoding="utf-8"))
