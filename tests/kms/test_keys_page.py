"""docs/KEYS.md keeps to what is there: all of its code runs, its registry can be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cyborg_embedded.kms.registry import read_registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "KEYS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROGRAMS = [code for language, code in BLOCKS if language == "python"]
TABLES = [code for language, code in BLOCKS if language == "toml"]


TWICE = "import sys; [exec(sys.argv[1], {'__name__': '__main__'}) for _ in range(2)]"


@pytest.fixture
def world(moto_address, kms, secrets_manager, environment, tmp_path):
    """The environment of a user with an account at AWS, a keychain, and nothing else."""
    host, port = moto_address
    url = f"http://{host}:{port}"
    region = "eu-central-1"
    import boto3

    session = boto3.Session(region_name=region)
    key = session.client("kms", endpoint_url=url)
    if not any(each["AliasName"] == "alias/notes" for each in key.list_aliases()["Aliases"]):
        created = key.create_key()["KeyMetadata"]["KeyId"]
        key.create_alias(AliasName="alias/notes", TargetKeyId=created)
        secrets = session.client("secretsmanager", endpoint_url=url)
        secrets.create_secret(Name="notes/wrapping-key", SecretBinary=os.urandom(32))
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": url,
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_python_block_runs(program, world, tmp_path):
    """A reader may paste any Python block of the page and it runs, twice in a row."""
    result = subprocess.run(
        [sys.executable, "-c", TWICE, program],
        cwd=tmp_path,
        env=world,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("table", TABLES)
def test_each_registry_can_be_read(table, tmp_path, monkeypatch):
    """The registry of the page has the slots that it shows."""
    monkeypatch.setenv("NOTES_KEY_ARN", "arn:aws:kms:eu-central-1:123456789012:key/1")
    monkeypatch.delenv("AWS_REGION", raising=False)
    path = tmp_path / "kms.toml"
    path.write_text(table)
    assert read_registry(path).slots == tuple(re.findall(r"^\[(\w+)\]$", table, re.MULTILINE))


def test_the_page_shows_every_manager():
    """Each key manager of the package is in some example."""
    managers = {"AwsKms", "AwsSecretsManager", "EnvironmentVariable", "Keychain", "KeyFile"}
    shown = "\n".join(PROGRAMS)
    assert all(f"{name}(" in shown for name in managers | {"Passphrase", "Safe"})
