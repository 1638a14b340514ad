"""Key managers: who wraps and unwraps the index key, one a module, behind one small protocol."""

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.kms.aws_kms import AwsKms
from cyborg_embedded.kms.aws_secrets_manager import AwsSecretsManager
from cyborg_embedded.kms.environment_variable import EnvironmentVariable
from cyborg_embedded.kms.key_file import KeyFile
from cyborg_embedded.kms.keychain import Keychain
from cyborg_embedded.kms.manager import KeyContext, KeyManager
from cyborg_embedded.kms.passphrase import Passphrase

__all__ = [
    "AwsKms",
    "AwsSecretsManager",
    "Envelope",
    "EnvironmentVariable",
    "KeyContext",
    "KeyFile",
    "KeyManager",
    "Keychain",
    "Passphrase",
]
