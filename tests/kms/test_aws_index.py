"""Indexes under AWS, as a user has them: through the client, new processes, and access taken back."""

import logging
import os
import textwrap
import time

import numpy as np
import pytest
from aws_service import HANG, REGION, Error, forms
from support import run_python

from cyborg_embedded import Client, KeyManagerError
from cyborg_embedded.kms import AwsKms, AwsSecretsManager

PATIENCE = 30.0
"""Seconds after which what should have happened has not."""


@pytest.fixture
def secret_id(secrets_manager):
    name = f"notes/{os.urandom(4).hex()}"
    secrets_manager.create_secret(Name=name, SecretBinary=os.urandom(32))
    return name


@pytest.fixture(params=["kms", "secrets"])
def manager(request, key_id, secret_id, at_aws):
    """A key manager of either kind that asks again after a moment."""
    made = AwsKms if request.param == "kms" else AwsSecretsManager
    name = key_id if request.param == "kms" else secret_id
    return made(name, key_ttl=0.4, key_grace=0.4, **at_aws)


@pytest.fixture
def client(tmp_path, manager):
    with Client(tmp_path / "indexes", kms={"aws": manager}) as client:
        yield client


@pytest.fixture
def index(client):
    with client.create_index("notes", kms_name="aws", dimension=2) as index:
        index.upsert(["a", "b"], [[1, 0], [0, 1]], metadata=[{"n": 1}, {"n": 2}])
        yield index


def until(happened):
    """Wait for something, for long if it must be."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_refused(index):
    """Whether a call says that the key manager refuses."""
    try:
        index.get(["a"])
    except KeyManagerError as error:
        return error.refused
    return False


def works(index):
    """Whether a call answers."""
    try:
        return [item["id"] for item in index.query([1, 0])] == ["a", "b"]
    except KeyManagerError:
        return False


def test_a_new_process_opens_it(aws, index, client, manager, tmp_path):
    """Who has the registry opens the index in another process, and no key is given to anybody."""
    program = """
        import sys
        from cyborg_embedded import Client
        from cyborg_embedded.kms import AwsKms, AwsSecretsManager
        folder, kind, name, region, url = sys.argv[1:]
        made = {"aws-kms": AwsKms, "aws-secrets-manager": AwsSecretsManager}[kind]
        client = Client(folder, kms={"aws": made(name, region=region, endpoint_url=url)})
        with client.load_index("notes") as index:
            print(index.list_ids())
    """
    name = manager.describe().split()[1]
    folder = tmp_path / "indexes"
    code, output, error = run_python(
        textwrap.dedent(program), folder, manager.provider, name, REGION, aws.url
    )
    assert (code, output.strip()) == (0, "['a', 'b']"), error


def test_boto3s_debug_log_holds_no_key(client, caplog, manager):
    """Where an application has boto3 log all that it does, keys are not in it."""
    caplog.set_level(logging.DEBUG)
    keys = []
    unwrap = type(manager).unwrap

    def recorded(self, envelope, context):
        key = unwrap(self, envelope, context)
        keys.append(bytes(key))
        return key

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(manager), "unwrap", recorded)
        client.create_index("logged", kms_name="aws", dimension=2).close()
        client.load_index("logged").close()
    logging.getLogger("botocore.endpoint").debug("of somebody else")
    texts = "\n".join(record.getMessage() for record in caplog.records)
    assert keys
    assert not any(form in texts for key in keys for form in forms(key))
    assert "of somebody else" in texts


def test_another_account_is_refused(aws, index, client):
    """Where AWS denies access, neither loading nor deleting does anything."""
    index.close()
    for call in (client.load_index, client.delete_index):
        aws.answer(Error("AccessDeniedException"))
        with pytest.raises(KeyManagerError) as caught:
            call("notes")
        assert caught.value.refused
        assert caught.value.slot == "aws"
    assert client.list_indexes() == ["notes"]


def test_access_taken_back_and_given_again(index, kms, secrets_manager, manager, key_id, secret_id):
    """A key that is disabled, a secret that is deleted: an open index locks itself and forgets all
    plaintext; once access is back, calls succeed."""
    if isinstance(manager, AwsKms):
        kms.disable_key(KeyId=key_id)
    else:
        secrets_manager.delete_secret(SecretId=secret_id)
    until(lambda: is_refused(index))
    session = index._session
    assert session.state is None
    keys = session.underlying.cipher.keys
    until(lambda: not any(keys.pages) and not any(keys.ids))
    assert session.columns.known is None
    for call in (
        lambda: index.query([1, 0]),
        lambda: index.upsert(["c"], [[1, 1]]),
        lambda: index.delete(["a"]),
        lambda: index.count({"n": 1}),
        lambda: len(index),
        index.rekey,
    ):
        with pytest.raises(KeyManagerError):
            call()
    if isinstance(manager, AwsKms):
        kms.enable_key(KeyId=key_id)
    else:
        secrets_manager.restore_secret(SecretId=secret_id)
    until(lambda: works(index))
    index.upsert(["c"], [[1, 1]])
    assert index.list_ids() == ["a", "b", "c"]


def test_an_outage_is_survived_for_its_grace(aws, index):
    """A manager that cannot be reached locks the index only after the grace, and not as a refusal."""
    aws.answer(*[Error("ThrottlingException")] * 3)
    time.sleep(0.1)
    assert works(index)
    aws.answer(*[Error("ServiceUnavailable", 503)] * 2000)
    until(lambda: not works(index))
    assert not is_refused(index)
    aws.plans.clear()
    until(lambda: works(index))


def test_a_call_never_waits_for_the_manager(aws, index):
    """While a manager does not answer, queries do: it is asked off their path."""
    aws.answer(*[HANG] * 3)
    asked = len(aws.requests)
    until(lambda: len(aws.requests) > asked)
    begun = time.monotonic()
    assert works(index)
    assert time.monotonic() - begun < aws_answers_after()
    aws.plans.clear()
    aws.released.set()


def aws_answers_after():
    """Seconds for which a hanging request hangs at least."""
    return 4.0


def test_rekey_asks_every_manager(index, aws, client, manager):
    """The new key is wrapped before anything is written; a refusal leaves all as it was."""
    aws.answer(Error("AccessDeniedException"), to="Encrypt")
    aws.answer(Error("AccessDeniedException"), to="GetSecretValue")
    before = index.commit_id
    with pytest.raises(KeyManagerError):
        index.rekey()
    aws.plans.clear()
    until(lambda: works(index))
    assert index.commit_id == before
    index.rekey()
    assert works(index)
    index.close()
    with client.load_index("notes") as again:
        assert works(again)


def test_vectors_of_a_locked_index_are_gone(aws, client, manager):
    """Nothing of a pool, a graph or columns is held by a session that is locked."""
    with client.create_index("large", kms_name="aws", dimension=8) as index:
        vectors = np.random.default_rng(1).normal(size=(500, 8))
        index.upsert([str(row) for row in range(500)], vectors, [{"n": 1}] * 500)
        index.warm()
        index.query(vectors[0], filters={"n": 1})
        aws.answer(*[Error("AccessDeniedException")] * 2000)
        until(lambda: index._session.state is None)
        session = index._session
        until(lambda: session.columns.known is None)
        aws.plans.clear()
        until(lambda: len_of(index) == 500)


def len_of(index):
    """How many items there are; None while it is locked."""
    try:
        return len(index)
    except KeyManagerError:
        return None
