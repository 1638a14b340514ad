"""What both AWS key managers share: the way to a service of AWS, and what its errors mean.

A client of boto3 is made when it is first needed and kept. It signs with the credentials that boto3
finds by itself or, where a role is given, with temporary ones that STS gives for that role and its
external id; they are renewed a minute before they expire. boto3 is an extra: only here it is
imported, and only when a client is made.

Nothing that boto3 raises goes on to the caller, not even as a cause: its texts may show the
parameters of a request. What remains is the code of the error. Nor does anything of a call go to
the debug log of boto3 (hush.py).
"""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms.hush import hushed
from cyborg_embedded.kms.manager import KeyManager, is_seconds

__all__ = [
    "SESSION_NAME",
    "TIMEOUT_SECONDS",
    "AwsAccess",
    "AwsKeyManager",
    "check_seconds",
    "check_text",
]

SESSION_NAME = "cyborg-embedded"
TIMEOUT_SECONDS = 5.0
"""For connecting, and for each wait for an answer, of one attempt."""
ATTEMPTS = 3
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
RENEWAL_SECONDS = 60.0
"""How long before temporary credentials expire they are no longer used."""
CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
"""The code of an error of AWS. Where an answer has only a number, somebody else has answered."""
BUSY_STATUS = {408, 429}
BUSY = {
    "BandwidthLimitExceeded",
    "DependencyTimeoutException",
    "InternalFailure",
    "InternalServiceError",
    "InternalServiceFailure",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestAbortedException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
"""Codes that stand for "not now", and that AWS also sends with the status of a refusal."""
STALE = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "NoCredentialsError",
    "UnrecognizedClientException",
}
"""Codes that say that the credentials of a client are no longer taken, or that it has none."""


class Kept(NamedTuple):
    """A client, and the time from which on it is not used any more."""

    client: Any
    until: float


class Failure(NamedTuple):
    """Why there is no answer: the code of AWS, or the name of an exception."""

    code: str
    refused: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class AwsAccess:
    """How AWS is reached, and on whose behalf. Threads may share it.

    `region`, `profile` and credentials that are not given are those that boto3 finds. `role_arn`
    and `external_id` go together: a role without one would be a confused deputy. `endpoint_url`
    stands in for the address of the service, and for that of STS too unless `sts_endpoint_url` is
    given. Raises `InvalidInputError`, which names the field.
    """

    region: str | None = None
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    role_session_name: str = SESSION_NAME
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    profile: str | None = None
    timeout: float = TIMEOUT_SECONDS
    _kept: dict[tuple[int, str], Kept] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("region", "role_arn", "external_id", "endpoint_url", "sts_endpoint_url"):
            check_text(name, getattr(self, name), optional=True)
        for name in ("endpoint_url", "sts_endpoint_url"):
            check_endpoint(name, getattr(self, name))
        check_text("profile", self.profile, optional=True)
        check_text("role_session_name", self.role_session_name)
        check_seconds("timeout", self.timeout)
        if self.role_arn is not None and self.external_id is None:
            message = "external_id is required with role_arn"
            raise InvalidInputError(message)
        if self.role_arn is None and self.external_id is not None:
            message = "external_id is of no use without role_arn"
            raise InvalidInputError(message)

    def call(self, service: str, operation: str, **parameters: object) -> dict[str, Any]:
        """What AWS answers to one operation; boto3's names for it, its service and parameters.

        Where a client that was kept has no credentials that AWS takes any more, others are fetched
        (a role is assumed anew) and the operation is tried once more. After a refusal no client is
        kept, so that the next call fetches them in any case. Raises `KeyManagerError`.
        """
        kept = self._current(service)
        answer = ask(kept or self._renewed(service), operation, parameters)
        if kept and isinstance(answer, Failure) and answer.code in STALE:
            answer = ask(self._renewed(service), operation, parameters)
        if isinstance(answer, Failure):
            if answer.refused:
                self._kept.pop(place(service), None)
            raise failed(service, operation, answer)
        return answer

    # No lock: single steps on a dict are atomic, and two threads that both make a client do no
    # harm, while one that waits for AWS under a lock would keep all others waiting.

    def _current(self, service: str) -> Any:
        """The client that is kept, if it may still be used."""
        kept = self._kept.get(place(service))
        return kept.client if kept is not None and time.time() < kept.until else None

    def _renewed(self, service: str) -> Any:
        """A new client, which is kept from now on."""
        credentials, until = ({}, math.inf) if self.role_arn is None else self._assumed()
        client = self._client(service, self.endpoint_url, credentials)
        self._kept[place(service)] = Kept(client, until)
        return client

    def _assumed(self) -> tuple[dict[str, str], float]:
        """Temporary credentials for the role, and until when to use them."""
        client = self._client("sts", self.sts_endpoint_url or self.endpoint_url, {})
        parameters = {
            "RoleArn": self.role_arn,
            "RoleSessionName": self.role_session_name,
            "ExternalId": self.external_id,
        }
        answer = ask(client, "assume_role", parameters)
        if isinstance(answer, Failure):
            raise failed("sts", "assume_role", answer)
        try:
            given = answer["Credentials"]
            credentials = {
                "aws_access_key_id": given["AccessKeyId"],
                "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"],
            }
            return credentials, given["Expiration"].timestamp() - RENEWAL_SECONDS
        except (AttributeError, KeyError, TypeError):
            message = "the answer of AWS to sts assume_role holds no credentials"
        raise KeyManagerError(message)

    def _client(self, service: str, endpoint_url: str | None, credentials: dict[str, str]) -> Any:
        """A client of boto3. Nothing is sent yet."""
        try:
            import boto3  # noqa: PLC0415 - an extra, and slow to import
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            message = "boto3 is missing: pip install 'cyborg-embedded[aws]'"
            raise KeyManagerError(message) from None
        try:
            config = Config(
                connect_timeout=self.timeout,
                read_timeout=self.timeout,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            )
            session = boto3.Session(profile_name=self.profile, region_name=self.region)
            client = session.client(
                service, endpoint_url=endpoint_url, config=config, **credentials
            )
            # Also where a profile or an environment variable has set it.
            check_endpoint("the address of AWS", client.meta.endpoint_url)
        except InvalidInputError as error:
            failure = Failure(str(error), refused=False)
        except Exception as error:  # noqa: BLE001 - of many kinds, and none may go on
            failure = failure_of(error)
        else:
            return client
        message = f"a client for AWS {service} cannot be made ({failure.code})"
        raise KeyManagerError(message)


def place(service: str) -> tuple[int, str]:
    """Where a client is kept: a forked child must not write to the connections of its parent."""
    return os.getpid(), service


def ask(client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any] | Failure:
    """The answer, or why there is none: returned, for what is raised would carry its context."""
    try:
        with hushed():
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
    except Exception as error:  # noqa: BLE001 - of many kinds, and none may go on
        return failure_of(error)
    return answer


def failure_of(error: Exception) -> Failure:
    """What an exception of boto3 means. AWS has said no where it answered with a code of its own
    and a status from 400 to 499, unless the code means that it is busy.
    """
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return Failure(type(error).__name__, refused=False)
    code = response.get("Error", {}).get("Code")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if not isinstance(code, str) or CODE.fullmatch(code) is None:
        return Failure(f"HTTP status {status}", refused=False)
    busy = code in BUSY or status in BUSY_STATUS
    return Failure(code, refused=400 <= status < 500 and not busy)


def failed(service: str, operation: str, failure: Failure) -> KeyManagerError:
    """The error to raise."""
    what = "refused" if failure.refused else "did not carry out"
    message = f"AWS {what} {service} {operation} ({failure.code})"
    return KeyManagerError(message, refused=failure.refused)


class AwsKeyManager(KeyManager):
    """What AWS keeps is named by `resource`; `access` is the way to it."""

    def __init__(
        self, resource: str, access: AwsAccess, *, key_ttl: float | None, key_grace: float
    ) -> None:
        if key_ttl is not None:
            check_seconds("key_ttl", key_ttl)
        check_seconds("key_grace", key_grace)
        self.key_ttl = key_ttl
        self.key_grace = key_grace
        self._resource = resource
        self._access = access

    def describe(self) -> str:
        """The provider, the name of the key or secret, and its region."""
        return f"{self.provider} {self._resource} in {self._access.region or 'the default region'}"


def check_text(name: str, value: object, *, optional: bool = False) -> None:
    """Raises `InvalidInputError` for what is not a string, or an empty one."""
    if value is None and optional:
        return
    if not isinstance(value, str) or not value:
        message = f"{name} must be a string that is not empty"
        raise InvalidInputError(message)


def check_endpoint(name: str, url: str | None) -> None:
    """Raises `InvalidInputError` for an address at which everybody on the way could read keys."""
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        message = f"{name} must be https://, or http:// on this machine (localhost)"
        raise InvalidInputError(message)


def check_seconds(name: str, value: object) -> None:
    """Raises `InvalidInputError` for what is not a positive, finite number."""
    if not is_seconds(value):
        message = f"{name} must be a positive, finite number of seconds"
        raise InvalidInputError(message)
