"""A key file: one line of text with 32 random bytes. Who has it can read every snapshot. Nobody can without one."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blake3 import blake3

from controlplane.backup.errors import WrongKey
from controlplane.backup.format.envelope import KEY_BYTES
from controlplane.whole_file import sync_folder

_PREFIX: Final = "llm-controlplane-backup-key-1:"
_ID = "llm-controlplane backup 1 key id"
_LIMIT = 4096
"""Bytes that are read of a file that should hold one line."""


@dataclass(frozen=True)
class UserKey:
    """A key of a person or a machine."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Id of the key, 16 hex digits. It can be shown."""
        return blake3(self.secret, derive_key_context=_ID).hexdigest(8)


def new_key() -> UserKey:
    """Return a new random key."""
    return UserKey(os.urandom(KEY_BYTES))


def write_key(path: Path, key: UserKey) -> None:
    """Write a key file that only its owner can read. Raises FileExistsError: a key file is never overwritten."""
    text = _PREFIX + base64.b64encode(key.secret).decode() + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, text.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)


def read_key(path: Path) -> UserKey:
    """Return the key of a file. Raises WrongKey when there is none, and never shows its content."""
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT).decode("ascii").strip()
    except FileNotFoundError as error:
        raise WrongKey(
            f"the key file {path} cannot be read: {error.strerror}. `controlplane backup init` makes it with a new"
            " repository. For a repository that exists, copy its key file there."
        ) from None
    except OSError as error:
        raise WrongKey(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(_PREFIX) or len(secret) != KEY_BYTES:
        raise WrongKey(f"{path} is not a key file of a backup repository: it does not hold one line with {_PREFIX}…")
    return UserKey(secret)
