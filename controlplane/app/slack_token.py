"""The token of a Slack notifier, from the environment or a file."""

from __future__ import annotations

import os
from collections.abc import Callable

from alerts.errors import DeliveryFailed
from controlplane.config.model import NotifierSection

MAX_TOKEN_BYTES = 4096
"""A token is a hundred characters; a file without an end must not fill the memory."""


def slack_token(section: NotifierSection) -> Callable[[], str]:
    """Return a reader of the token, asked at every send so that a rotated one is picked up.

    The reader raises DeliveryFailed.
    """

    def read() -> str:
        if section.token_env:
            text = os.environ.get(section.token_env, "").strip()
            place = f"environment variable {section.token_env}"
        else:
            path = section.token_file
            assert path is not None  # the configuration wants one of the two
            place = str(path)
            try:
                with path.open("rb") as file:
                    text = file.read(MAX_TOKEN_BYTES).decode().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise DeliveryFailed(f"notifier {section.name}: {path} cannot be read: {_why(error)}") from error
        if not text:
            raise DeliveryFailed(f"notifier {section.name}: {place} is not set or empty; put the Slack bot token there")
        return text

    return read


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
