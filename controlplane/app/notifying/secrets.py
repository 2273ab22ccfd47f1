"""A notifier's secret: in the environment, in a file, or in the alertmanager.yml that the notifier comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from alerts.errors import DeliveryFailed
from collectors.regular_file import read_regular
from controlplane.config.notifiers.common import CommonNotifier

MAX_SECRET_BYTES = 4096
"""Bytes that are read of a file. Chosen: a secret has a few hundred, and a huge file must not fill the memory."""

SECRETS = {
    "token": "Slack bot token",
    "url": "webhook's address",
    "secret": "bot's secret",
    "password": "password",
    "routing_key": "integration key",
    "api_key": "API key",
}
"""Names of secrets in fields, without `_env` and `_file`, and what they are."""


@dataclass(frozen=True)
class Secret:
    """The place of a secret. It is read at every use, so that a new secret is used."""

    owner: str
    """The thing that needs it, as it reads in a sentence: `notifier ops`."""
    what: str
    """The secret's name at the receiver."""
    env: str | None = None
    file: Path | None = None
    inline: SecretStr | None = None

    @property
    def place(self) -> tuple[str | None, Path | None, SecretStr | None]:
        """Where the secret is. Two secrets at one place are equal, whoever owns them. Its text shows no secret."""
        return self.env, self.file, self.inline

    def __call__(self) -> str:
        """Return the secret. Raises DeliveryFailed when it is missing or cannot be read."""
        if self.inline is not None:
            text, place = self.inline.get_secret_value().strip(), "alertmanager.yml"
        elif self.env:
            text, place = os.environ.get(self.env, "").strip(), f"environment variable {self.env}"
        else:
            assert self.file is not None  # the configuration requires one of the places
            text, place = self._content(self.file), str(self.file)
        if not text:
            raise DeliveryFailed(f"{self.owner}: {place} is not set or empty; put the {self.what} there")
        if not text.isprintable():
            raise DeliveryFailed(f"{self.owner}: the {self.what} in {place} holds a line break or a control character")
        return text

    def _content(self, path: Path) -> str:
        try:
            return read_regular(path, MAX_SECRET_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(f"{self.owner}: {path} cannot be read: {_why(error)}") from error


def secret_of(section: CommonNotifier, name: str) -> Secret | None:
    """Return the secret of a section's fields `NAME_env` and `NAME_file`, or None when it has none."""
    inline = section.inline(name)
    env, file = (getattr(section, f"{name}_{place}", None) for place in ("env", "file"))
    if inline is None and not env and not file:
        return None
    return Secret(f"notifier {section.name}", SECRETS[name], None if inline else env, file, inline)


def secrets_of(section: CommonNotifier) -> dict[str, Secret]:
    """Return the secrets of a notifier by the field that names their place, such as `token_env`."""
    found = {name: secret for name in SECRETS if (secret := secret_of(section, name)) is not None}
    return {f"{name}_file" if secret.file else f"{name}_env": secret for name, secret in found.items()}


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
