"""A wrapping key in an environment variable, as containers and CI systems hand secrets over."""

from __future__ import annotations

import os

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms.secret import HeldSecret, parse_secret

__all__ = ["EnvironmentVariable"]


class EnvironmentVariable(HeldSecret):
    """Wraps index keys under the secret in an environment variable: 64 hex characters.

    The variable is read at each use. Raises `InvalidInputError` for what cannot be the name of one.
    """

    provider = "environment-variable"

    def __init__(self, variable: str) -> None:
        sound = isinstance(variable, str) and variable and variable.isprintable()
        if not sound or "=" in variable:
            message = "variable must be the name of an environment variable"
            raise InvalidInputError(message)
        self._variable = variable

    def _fetch(self) -> bytearray:
        text = os.environ.get(self._variable, "")
        if not text:
            message = f"the environment variable {self._variable!r} is not set"
            raise KeyManagerError(message)
        secret = parse_secret(text)
        if secret is None:
            message = f"the environment variable {self._variable!r} must hold 64 hex characters"
            raise KeyManagerError(message, refused=True)
        return secret

    def describe(self) -> str:
        """What it is, with the name of the variable."""
        return f"{self.provider} {self._variable}"
