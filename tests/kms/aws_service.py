"""AWS on this machine: moto, and in front of it a proxy that records requests and can misbehave.

The proxy also does what AWS documents and moto leaves out: a KMS key that is disabled, or waits for
its deletion, does nothing; a role is given to nobody who does not know its external id; and
credentials that have expired are not taken.
"""

import base64
import contextlib
import functools
import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cyborg_embedded.errors import KeyManagerError

REGION = "eu-west-1"
ACCOUNT = "123456789012"
LONGEST_HANG = 10.0
XML_ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>{code}</Code><Message>{text}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)


@dataclass(frozen=True)
class Request:
    """One request as it came: the service and access key that it is signed for, and its body."""

    service: str
    operation: str
    access_key: str
    parameters: dict


@dataclass(frozen=True)
class Error:
    """An answer of AWS that is an error."""

    code: str
    status: int = 400
    text: str = "no"

    def body(self, service):
        if service == "sts":
            return XML_ERROR.format(code=self.code, text=self.text).encode()
        return json.dumps({"__type": self.code, "message": self.text}).encode()


@dataclass(frozen=True)
class Page:
    """An answer that is not one of AWS."""

    status: int
    body: bytes


HANG = object()
"""No answer before the proxy is closed, or after some seconds."""
DROP = object()
"""The connection is closed without an answer."""
STATES = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}


@dataclass
class Proxy:
    """Passes requests on to moto, unless it has been told otherwise."""

    moto: tuple[str, int]
    requests: list[Request] = field(default_factory=list)
    external_ids: dict[str, str] = field(default_factory=dict)
    """Of roles that have one; to all others anybody may assume any role."""
    expired: set[str] = field(default_factory=set)
    """Access keys of temporary credentials."""
    plans: list[tuple] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, *answers, to=None):
        """The next requests (of one operation) get these answers, one each."""
        self.plans += [(answer, to) for answer in answers]

    def sent(self, operation=None):
        """The requests so far, of one operation or all."""
        return [each for each in self.requests if operation in (None, each.operation)]

    def planned(self, request):
        for plan in self.plans:
            if plan[1] in (None, request.operation):
                self.plans.remove(plan)
                return plan[0]
        return self.documented(request)

    def documented(self, request):
        if request.access_key in self.expired:
            return Error("ExpiredTokenException")
        if request.operation in ("Encrypt", "Decrypt"):
            return self.key_state(request.parameters["KeyId"])
        if request.operation == "AssumeRole":
            wanted = self.external_ids.get(request.parameters["RoleArn"])
            if wanted is not None and request.parameters.get("ExternalId") != wanted:
                return Error("AccessDenied", 403)
        return None

    def key_state(self, key_id):
        with contextlib.suppress(Exception):
            kms = admin("kms", self.moto)
            state = kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
            return Error(STATES[state]) if state in STATES else None
        return None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        proxy = self

        class Bound(Handler):
            owner = proxy

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # it would have each answer wait for an acknowledgement

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = parsed(self.headers, body)
        self.owner.requests.append(request)
        answer = self.owner.planned(request)
        if answer is HANG:
            self.owner.released.wait(LONGEST_HANG)
        if answer in (HANG, DROP):
            self.close_connection = True
        elif isinstance(answer, Error):
            self.reply(answer.status, answer.body(request.service))
        elif isinstance(answer, Page):
            self.reply(answer.status, answer.body)
        else:
            self.pass_on(body)

    def pass_on(self, body):
        moto = http.client.HTTPConnection(*self.owner.moto, timeout=10)
        try:
            moto.request("POST", self.path, body, dict(self.headers))
            answer = moto.getresponse()
            self.reply(answer.status, answer.read())
        finally:
            moto.close()

    def reply(self, status, body):
        with contextlib.suppress(OSError):  # who asked may have gone
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def parsed(headers, body):
    """A request of AWS: JSON with its operation in a header, or the form of STS."""
    # AWS4-HMAC-SHA256 Credential=<access key>/<date>/<region>/<service>/aws4_request, ...
    scope = headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")
    if headers["X-Amz-Target"]:
        operation, parameters = headers["X-Amz-Target"].split(".")[1], json.loads(body)
    else:
        parameters = dict(parse_qsl(body.decode()))
        operation = parameters.pop("Action")
    return Request(scope[3], operation, scope[0], parameters)


@contextlib.contextmanager
def moto_server():
    """Moto on a free port of the loopback interface: its host and port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()


@functools.cache
def admin(service, address):
    """A client that goes straight to moto, with no proxy between."""
    host, port = address
    given = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin"}
    return boto3.Session(region_name=REGION, **given).client(
        service, endpoint_url=f"http://{host}:{port}"
    )


def forms(secret):
    """How a secret may show in a text."""
    secret = bytes(secret)
    return {
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
        repr(secret)[2:-1],
        repr(list(secret))[1:-1],
        secret.decode("latin-1"),
    }


def refused(call, *arguments):
    """The error of a call that is refused."""
    with pytest.raises(KeyManagerError) as caught:
        call(*arguments)
    assert caught.value.refused
    return caught.value


def failed(call, *arguments):
    """The error of a call that gets no answer."""
    with pytest.raises(KeyManagerError) as caught:
        call(*arguments)
    assert not caught.value.refused
    return caught.value
