"""Secrets of Slack, from the environment or a file: a notifier's token, an app's token and its signing secret."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from alerts.errors import DeliveryFailed
from controlplane.config.notifiers import SlackSection
from controlplane.config.slack import SlackAppSection

MAX_TOKEN_BYTES = 4096
"""Bytes that are read of a token file. Chosen: a token has about 100, and a huge file must not fill the memory."""


@dataclass(frozen=True)
class SlackToken:
    """The place of a secret: a variable or a file. It is read at every use, so that a new secret is used."""

    owner: str
    """The thing that needs it, as it reads in a sentence: `notifier ops`."""
    what: str
    """The secret's name in Slack."""
    env: str | None
    file: Path | None

    def __call__(self) -> str:
        """Return the secret. Raises DeliveryFailed when it is missing or cannot be read."""
        if self.env:
            text, place = os.environ.get(self.env, "").strip(), f"environment variable {self.env}"
        else:
            assert self.file is not None  # the configuration requires one of the two
            text, place = self._content(self.file), str(self.file)
        if not text:
            raise DeliveryFailed(f"{self.owner}: {place} is not set or empty; put the {self.what} there")
        return text

    def _content(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(f"{self.owner}: {path} cannot be read: {_why(error)}") from error


def bot_token(section: SlackSection) -> SlackToken:
    """Return the token of a notifier."""
    return SlackToken(f"notifier {section.name}", "Slack bot token", section.token_env, section.token_file)


def app_token(section: SlackAppSection) -> SlackToken | None:
    """Return the app-level token for Socket Mode, or None without one."""
    if not (section.app_token_env or section.app_token_file):
        return None
    return SlackToken("slack", "Slack app-level token (xapp-…)", section.app_token_env, section.app_token_file)


def signing_secret(section: SlackAppSection) -> SlackToken | None:
    """Return the signing secret for clicks over HTTP, or None without one."""
    if not (section.signing_secret_env or section.signing_secret_file):
        return None
    what = "signing secret of the Slack app"
    return SlackToken("slack", what, section.signing_secret_env, section.signing_secret_file)


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
