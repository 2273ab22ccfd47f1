"""Access keys of AWS: from a shared credentials file, or from the environment. Read anew at each use."""

from __future__ import annotations

import os
from configparser import ConfigParser
from configparser import Error as ParserError
from dataclasses import dataclass

from collectors.clouds.aws.signing import Key
from collectors.errors import ScrapeError
from collectors.regular_file import read_regular

_FIELDS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""Names in the file. In the environment they are in capitals."""
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class KeyPlace:
    """Where a key is. Without a file it is in the environment."""

    file: str = ""
    profile: str = "default"

    def __str__(self) -> str:
        """Return the place for messages."""
        return f"profile {self.profile} of {self.file}" if self.file else "the environment (AWS_ACCESS_KEY_ID)"

    def read(self) -> Key:
        """Return the key. Raises ScrapeError, which names the place but never its content."""
        found = self._of_file() if self.file else {name: os.environ.get(name.upper(), "") for name in _FIELDS}
        values = [found.get(name, "").strip() for name in _FIELDS]
        for name, value in zip(_FIELDS, values, strict=True):
            shown = name if self.file else name.upper()
            if not value and name != _FIELDS[2]:
                raise ScrapeError(f"{shown} is not set in {self}")
            if not (value.isascii() and value.isprintable()):
                raise ScrapeError(f"{shown} in {self} holds a character that no key has")
        return Key(*values)

    def _of_file(self) -> dict[str, str]:
        # The parser's errors show lines of the file, which hold secrets.
        parser = ConfigParser(interpolation=None, strict=False, default_section="")
        try:
            parser.read_string(read_regular(self.file, _MAX_BYTES).decode())
        except OSError as error:
            raise ScrapeError(f"cannot read the credentials file {self.file}: {error.strerror}") from None
        except (ParserError, ValueError):
            raise ScrapeError(
                f"{self.file} is no shared credentials file of AWS: [profile] and lines key = value"
            ) from None
        if not parser.has_section(self.profile):
            raise ScrapeError(f"{self.file} has no profile {self.profile}")
        return dict(parser[self.profile])
