"""AWS Secrets Manager: a secret there is the wrapping key; envelopes say which version of it.

A secret may be rotated: what an earlier version wrapped is unwrapped with that version, and what
is wrapped from then on with the new one. Secrets Manager keeps versions with a staging label, the
current one and the one before it, but may delete those without any: before a secret is rotated
twice, indexes have to be wrapped anew, or the versions in use be given a label of their own.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import KeyManagerError
from cyborg_embedded.keys import wiped
from cyborg_embedded.kms.aws import (
    SESSION_NAME,
    TIMEOUT_SECONDS,
    AwsAccess,
    AwsKeyManager,
    check_text,
)
from cyborg_embedded.kms.secret import check_provider, parse_secret
from cyborg_embedded.kms.wrapping import open_key, seal_key
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["AwsSecretsManager"]

VERSION = "version"


class AwsSecretsManager(AwsKeyManager):
    """Wraps index keys under a secret of AWS Secrets Manager: its name or ARN.

    The secret is 32 random bytes: binary, or as text of 64 hex characters or in base64. The
    credentials need `secretsmanager:GetSecretValue`. They are those that boto3 finds (or finds for
    `profile`), or those of `role_arn`, which is assumed with `external_id`. `timeout` is in
    seconds, for each of up to three attempts. Raises `InvalidInputError`.
    """

    provider = "aws-secrets-manager"

    def __init__(
        self,
        secret_id: str,
        *,
        region: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        role_session_name: str = SESSION_NAME,
        endpoint_url: str | None = None,
        sts_endpoint_url: str | None = None,
        profile: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        key_ttl: float | None = 60.0,
        key_grace: float = 3600.0,
    ) -> None:
        check_text("secret_id", secret_id)
        access = AwsAccess(
            region=region,
            role_arn=role_arn,
            external_id=external_id,
            role_session_name=role_session_name,
            endpoint_url=endpoint_url,
            sts_endpoint_url=sts_endpoint_url,
            profile=profile,
            timeout=timeout,
        )
        super().__init__(secret_id, access, key_ttl=key_ttl, key_grace=key_grace)

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """Seal an index key under the current version of the secret. Raises `KeyManagerError`."""
        answer = self._secret()
        version = answer.get("VersionId")
        if not isinstance(version, str) or not version:
            message = "the answer of AWS to secretsmanager get_secret_value names no version"
            raise KeyManagerError(message)
        with wiped(key_in(answer)) as wrapping_key:
            sealed = seal_key(wrapping_key, index_key, self.provider, context)
        return Envelope(self.provider, sealed, {VERSION: version})

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytearray:
        """Open an envelope with the very version that sealed it. Raises `KeyManagerError`."""
        check_provider(envelope, self.provider)
        version = envelope.parameters.get(VERSION)
        if not isinstance(version, str) or not version:
            message = "the envelope does not say which version of the secret it needs"
            raise KeyManagerError(message, refused=True)
        with wiped(key_in(self._secret(VersionId=version))) as wrapping_key:
            return open_key(wrapping_key, envelope.ciphertext, self.provider, context)

    def _secret(self, **parameters: str) -> dict[str, Any]:
        return self._access.call(
            "secretsmanager", "get_secret_value", SecretId=self._resource, **parameters
        )


def key_in(answer: dict[str, Any]) -> bytearray:
    """The wrapping key that a secret is. Raises `KeyManagerError` (refused) if it is none."""
    binary, text = answer.get("SecretBinary"), answer.get("SecretString")
    key = None
    if isinstance(binary, bytes):
        key = parse_secret(binary)
    elif isinstance(text, str):
        key = parse_secret(text) or from_base64(text)
    if key is None:
        message = (
            f"the secret must be {KEY_BYTES} bytes: binary, or as text of {2 * KEY_BYTES} hex "
            "characters or in base64, and nothing else"
        )
        raise KeyManagerError(message, refused=True)
    return key


def from_base64(text: str) -> bytearray | None:
    """The secret in base64 with whitespace around it; None if that is not what it is."""
    try:
        key = bytearray(base64.b64decode(text.strip(), validate=True))
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
