"""The key managers of an application, by the names (slots) that stand in the headers of indexes.

They come as a mapping, or from a TOML file in which each table is one:

    [prod]
    provider = "aws-kms"
    key_id = "${CMK_ARN}"

    [recovery]
    provider = "passphrase"
    passphrase = "${RECOVERY_PASSPHRASE}"

Errors name the file, the line or slot, and the field: never a value, which may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cyborg_embedded.envelopes import MAX_SLOT, check_slot
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.kms.aws_kms import AwsKms
from cyborg_embedded.kms.aws_secrets_manager import AwsSecretsManager
from cyborg_embedded.kms.configuration import read_tables, resolved
from cyborg_embedded.kms.environment_variable import EnvironmentVariable
from cyborg_embedded.kms.key_file import KeyFile, absolute
from cyborg_embedded.kms.keychain import Keychain
from cyborg_embedded.kms.manager import KeyManager, is_seconds
from cyborg_embedded.kms.passphrase import Passphrase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["KeyRegistry", "read_registry"]


class Provider(NamedTuple):
    """A key manager that a file may name: its fields with their types, and which it must have."""

    manager: type[KeyManager]
    fields: dict[str, type]
    required: tuple[str, ...] = ()


AWS_FIELDS = {
    "region": str,
    "role_arn": str,
    "external_id": str,
    "role_session_name": str,
    "endpoint_url": str,
    "sts_endpoint_url": str,
    "profile": str,
    "timeout": float,
    "key_ttl": float,
    "key_grace": float,
}
PROVIDERS = {
    each.manager.provider: each
    for each in (
        Provider(AwsKms, {"key_id": str, **AWS_FIELDS}, ("key_id",)),
        Provider(AwsSecretsManager, {"secret_id": str, **AWS_FIELDS}, ("secret_id",)),
        Provider(KeyFile, {"path": str}, ("path",)),
        Provider(EnvironmentVariable, {"variable": str}, ("variable",)),
        Provider(Keychain, {"service": str, "account": str}),
        Provider(
            Passphrase,
            {"passphrase": str, "memory_kib": int, "passes": int, "lanes": int},
            ("passphrase",),
        ),
    )
}
KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    str: ("a text", (str,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
}


class KeyRegistry:
    """Key managers by slot, as they were when it was made. Raises `InvalidInputError`."""

    def __init__(self, managers: Mapping[str, KeyManager]) -> None:
        self._managers = {
            check_slot(slot): check_manager(slot, manager) for slot, manager in items(managers)
        }

    @property
    def slots(self) -> tuple[str, ...]:
        """The names, in the order in which they were given."""
        return tuple(self._managers)

    def __contains__(self, slot: object) -> bool:
        return isinstance(slot, str) and slot in self._managers

    def get(self, slot: str) -> KeyManager:
        """The key manager of that name. Raises `InvalidInputError`."""
        manager = self._managers.get(check_slot(slot))
        if manager is None:
            known = ", ".join(map(repr, self._managers)) or "none"
            message = f"there is no key manager {slot!r}; there are: {known}"
            raise InvalidInputError(message)
        return manager

    def __repr__(self) -> str:
        shown = ", ".join(f"{slot!r}: {each.provider}" for slot, each in self._managers.items())
        return f"<KeyRegistry {{{shown}}}>"

    def __reduce__(self) -> NoReturn:
        message = "a KeyRegistry may hold secrets and cannot be pickled or copied"
        raise TypeError(message)


def items(managers: object) -> Iterable[tuple[str, Any]]:
    """What a mapping holds. Raises `InvalidInputError` for anything else."""
    if not isinstance(managers, Mapping):
        message = "key managers must be given as a mapping from names to key managers"
        raise InvalidInputError(message)
    return managers.items()


def check_manager(slot: str, manager: object) -> KeyManager:
    """A key manager that names its provider. Raises `InvalidInputError`."""
    if not isinstance(manager, KeyManager):
        message = f"key manager {slot!r}: must be a KeyManager, not {type(manager).__name__}"
        raise InvalidInputError(message)
    provider: object = getattr(manager, "provider", None)
    sound = isinstance(provider, str) and 0 < len(provider) <= MAX_SLOT and provider.isprintable()
    if not sound:
        message = f"key manager {slot!r}: its provider must be 1 to {MAX_SLOT} printable characters"
        raise InvalidInputError(message)
    for name, optional in (("key_ttl", True), ("key_grace", False)):
        value: object = getattr(manager, name, None)
        if not (optional and value is None) and not is_seconds(value):
            message = f"key manager {slot!r}: its {name} must be a positive, finite number"
            raise InvalidInputError(message)
    return manager


def read_registry(
    path: str | os.PathLike[str], *, ask: Callable[[str], str] | None = None
) -> KeyRegistry:
    """The key managers in a TOML file.

    A passphrase that the file does not have is what `ask(slot)` returns, at each use. A relative
    path is one from the folder of the file. Raises `InvalidInputError`.
    """
    file = absolute(path)
    managers = {}
    for slot, table in read_tables(file).items():
        try:
            managers[check_slot(slot)] = build(
                table, os.path.dirname(file), ask and partial(ask, slot)
            )
        except InvalidInputError as error:
            message = f"{file}: key manager {slot!r}: {error}"
            raise InvalidInputError(message) from None
    return KeyRegistry(managers)


def build(table: object, folder: str, ask: Callable[[], str] | None) -> KeyManager:
    """The key manager that a table describes. Raises `InvalidInputError`."""
    if not isinstance(table, dict):
        message = "must be a table, with a provider and its fields"
        raise InvalidInputError(message)
    fields: dict[str, Any] = {name: resolved(name, value) for name, value in table.items()}
    if "provider" not in fields:
        message = "field 'provider' is missing"
        raise InvalidInputError(message)
    name = fields.pop("provider")
    provider = PROVIDERS.get(name) if isinstance(name, str) else None
    if provider is None:
        message = f"field 'provider' must be one of {', '.join(sorted(PROVIDERS))}"
        raise InvalidInputError(message)
    if ask is not None and provider.manager is Passphrase:
        fields.setdefault("passphrase", ask)
    check_fields(provider, fields, ask)
    if fields.get("path"):
        fields["path"] = os.path.join(folder, fields["path"])
    return provider.manager(**fields)


def check_fields(provider: Provider, fields: dict[str, Any], ask: object) -> None:
    """Raises `InvalidInputError` unless all fields are known, of their types, and there."""
    for name, value in fields.items():
        if name not in provider.fields:
            known = ", ".join(provider.fields)
            message = f"field {name!r} is not known; there are: {known}"
            raise InvalidInputError(message)
        kind, types = KINDS[provider.fields[name]]
        if type(value) not in types and value is not ask:
            message = f"field {name!r} must be {kind}"
            raise InvalidInputError(message)
    for name in provider.required:
        if name not in fields:
            message = f"field {name!r} is missing"
            raise InvalidInputError(message)
