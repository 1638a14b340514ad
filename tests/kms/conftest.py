"""Fixtures of the AWS suites. Nothing in them is in force where they are not asked for."""

import functools
import socket

import botocore.session
import pytest
from aws_service import REGION, Proxy, admin, moto_server

from cyborg_embedded.kms.manager import KeyContext


@pytest.fixture
def index_key():
    return bytes(range(150, 182))


@pytest.fixture
def context():
    return KeyContext(bytes(range(16)))


@pytest.fixture
def other_context():
    return KeyContext(bytes(range(1, 17)))


@pytest.fixture(scope="session")
def moto_address():
    with moto_server() as address:
        yield address


@pytest.fixture(scope="session")
def models_read_once():
    """What boto3 knows of services is read from its files once, not for each client."""
    with pytest.MonkeyPatch.context() as patch:
        create = botocore.session.create_loader
        patch.setattr(botocore.session, "create_loader", functools.cache(create))
        yield


@pytest.fixture
def loopback_only(monkeypatch):
    """No connection leaves this machine, and no name is looked up; the list of those tried."""
    tried = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            tried.append(address[0])
            raise ConnectionRefusedError
        return connect(self, address)

    def guarded_look_up(host, *arguments, **options):
        if host != "127.0.0.1":
            tried.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "not in these tests")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    return tried


@pytest.fixture
def environment(models_read_once, monkeypatch, tmp_path):
    """boto3 finds the credentials of the tests, and none that this machine may have."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    for name in (
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_waiting(monkeypatch):
    """boto3 retries as often as ever, but without a pause."""
    backoff = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(backoff, lambda self, context: 0.0)


@pytest.fixture
def aws(moto_address, environment, no_waiting, loopback_only):
    """The proxy before moto. Fails a test that has tried to reach anything else."""
    with Proxy(moto_address) as proxy:
        yield proxy
    assert loopback_only == []


@pytest.fixture
def at_aws(aws):
    """Arguments with which a key manager finds the proxy."""
    return {"region": REGION, "endpoint_url": aws.url}


@pytest.fixture
def kms(moto_address):
    """KMS as its administrator sees it."""
    return admin("kms", moto_address)


@pytest.fixture
def secrets_manager(moto_address):
    """Secrets Manager as its administrator sees it."""
    return admin("secretsmanager", moto_address)


@pytest.fixture
def key_id(kms):
    return kms.create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture
def envelope(manager, index_key, context, aws):
    """One that the manager has wrapped; the requests that it took are forgotten."""
    envelope = manager.wrap(index_key, context)
    aws.requests.clear()
    return envelope
