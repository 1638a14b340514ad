"""AWS KMS: the index key is wrapped under a key that never leaves KMS.

    ciphertext = Encrypt(key id, index key, {"cyborg-embedded:index-id": index id in hex})

Unwrapping names the key that the application configured, never one that an envelope names: whoever
can write an index file cannot have it opened under a key of their own. The encryption context
binds an envelope to its index; policies of IAM and CloudTrail see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import KeyManagerError
from cyborg_embedded.kms.aws import (
    SESSION_NAME,
    TIMEOUT_SECONDS,
    AwsAccess,
    AwsKeyManager,
    check_text,
)
from cyborg_embedded.kms.secret import check_provider
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["AwsKms"]

CONTEXT_NAME = "cyborg-embedded:index-id"


class AwsKms(AwsKeyManager):
    """Wraps index keys under a symmetric key of AWS KMS: its id, ARN or alias.

    The credentials need `kms:Encrypt` to wrap and `kms:Decrypt` to unwrap. They are those that
    boto3 finds (or finds for `profile`), or those of `role_arn`, which is assumed with
    `external_id`. An alias that is moved to another key no longer opens what the former one
    wrapped. `timeout` is in seconds, for each of up to three attempts. Raises `InvalidInputError`.
    """

    provider = "aws-kms"

    def __init__(
        self,
        key_id: str,
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
        check_text("key_id", key_id)
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
        super().__init__(key_id, access, key_ttl=key_ttl, key_grace=key_grace)

    def wrap(self, index_key: bytes | bytearray, context: KeyContext) -> Envelope:
        """Have KMS encrypt an index key. Raises `KeyManagerError`."""
        answer = self._access.call(
            "kms",
            "encrypt",
            KeyId=self._resource,
            Plaintext=index_key,
            EncryptionContext={CONTEXT_NAME: context.text},
        )
        ciphertext = answer.get("CiphertextBlob")
        if not isinstance(ciphertext, bytes) or not ciphertext:
            message = "the answer of AWS to kms encrypt holds no ciphertext"
            raise KeyManagerError(message)
        return Envelope(self.provider, ciphertext)

    def unwrap(self, envelope: Envelope, context: KeyContext) -> bytearray:
        """Have KMS decrypt the index key. Raises `KeyManagerError`."""
        check_provider(envelope, self.provider)
        answer = self._access.call(
            "kms",
            "decrypt",
            KeyId=self._resource,
            CiphertextBlob=envelope.ciphertext,
            EncryptionContext={CONTEXT_NAME: context.text},
        )
        key = answer.get("Plaintext")
        if not isinstance(key, bytes):
            message = "the answer of AWS to kms decrypt holds no plaintext"
            raise KeyManagerError(message)
        if len(key) != KEY_BYTES:
            message = f"what AWS KMS decrypted is no index key: it is not of {KEY_BYTES} bytes"
            raise KeyManagerError(message, refused=True)
        return bytearray(key)
