"""What lies in the folder while a file is being written is no index, whoever copies it."""

import shutil

import numpy as np
import pytest
from rekey_harness import Custodian
from support import KEY

from cyborg_embedded import Client, CyborgError, rewriting


@pytest.mark.parametrize("way", ["rekey", "compact"])
def test_no_half_index(tmp_path, monkeypatch, way):
    """No state of the new file before the last opens, under the old key or the new one: a copy
    of it could be put in the place of the index, and would lack items.
    """
    monkeypatch.setattr(rewriting, "BLOCK_BYTES", 1)
    folder = tmp_path / "indexes"
    keys = (KEY, bytes(range(32)))
    copies = []

    def copy(done, total):
        if done < total:
            (temporary,) = folder.glob(".new-*.cyb")
            copies.append(folder / f"copy{len(copies)}.cyb")
            shutil.copyfile(temporary, copies[-1])

    with Client(folder) as client:
        index = client.create_index("notes", index_key=KEY, dimension=2, indexing="manual")
        index.upsert([str(n) for n in range(1500)], np.ones((1500, 2)))
        if way == "rekey":
            index.rekey(keys[1], progress=copy)
        else:
            index.compact(progress=copy)
        assert len(index) == 1500
        assert len(copies) >= 3
        index.close()
        for path in copies:
            for key in keys:
                with pytest.raises(CyborgError):
                    client.load_index(path.stem, index_key=key)


def test_a_disk_that_does_not_confirm(tmp_path, monkeypatch):
    """A rename that the disk has not confirmed is told of, with the index under its new key."""
    custodian = Custodian(tmp_path / "indexes")
    with custodian.create(dimension=2) as index:
        index.upsert(["a"], [[1, 2]])
        monkeypatch.setattr("cyborg_embedded.folder.os.fsync", failing)
        with pytest.raises(CyborgError, match="keep both"):
            custodian.renew(index)
        assert index.list_ids() == ["a"]


def failing(_):
    raise OSError(5, "no")
