"""The token of a Slack notifier, from the environment or a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from alerts.errors import DeliveryFailed

MAX_TOKEN_BYTES = 4096
"""Bytes that are read of a token file. Chosen: a token has about 100, and a huge file must not fill the memory."""


@dataclass(frozen=True)
class SlackToken:
    """The place of a notifier's token: a variable or a file. It is read at every send, so that a new token is used."""

    notifier: str
    env: str | None
    file: Path | None

    def __call__(self) -> str:
        """Return the token. Raises DeliveryFailed when it is missing or cannot be read."""
        if self.env:
            text, place = os.environ.get(self.env, "").strip(), f"environment variable {self.env}"
        else:
            assert self.file is not None  # the configuration requires one of the two
            text, place = self._content(self.file), str(self.file)
        if not text:
            raise DeliveryFailed(
                f"notifier {self.notifier}: {place} is not set or empty; put the Slack bot token there"
            )
        return text

    def _content(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(f"notifier {self.notifier}: {path} cannot be read: {_why(error)}") from error


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
