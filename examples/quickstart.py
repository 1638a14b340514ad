"""The README's example: `python examples/quickstart.py`."""

from cyborg_embedded import Client

client = Client("quickstart-data")  # a folder, made if it is missing
key = client.generate_key()  # 32 random bytes: keep them, they cannot be recovered
index = client.create_index("notes", index_key=key, dimension=3, metric="cosine")
index.upsert(
    [
        {"id": "tea", "vector": [0.9, 0.1, 0.0], "metadata": {"year": 2023}},
        {"id": "coffee", "vector": [0.8, 0.3, 0.1], "contents": "a text, or bytes"},
        {"id": "bicycle", "vector": [0.0, 0.2, 0.9]},
    ]
)
for result in index.query([1.0, 0.2, 0.0], top_k=2):
    print(result["id"], round(result["distance"], 3), result["metadata"])
print(index.query_metadata({"year": {"$gte": 2020}}))
index.close()

with client.load_index("notes", index_key=key) as index:
    print(len(index), "items, one of them:", index.get(["coffee"], include=["contents"]))
client.delete_index("notes", index_key=key)
