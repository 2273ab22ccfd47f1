"""The first admin token: from the environment, or made and written to a file that only its owner can read."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from controlplane.access.roles import Role
from controlplane.access.tokens import TokenStore, new_token_text, split_token
from controlplane.errors import ConfigError, Conflict
from controlplane.whole_file import write_whole

log = logging.getLogger(__name__)

FILE = "admin-token"
NAME = "bootstrap"


def bootstrap(tokens: TokenStore, data_dir: Path, given: str | None, now: float) -> Path | None:
    """Store an admin token on the first start. Return the file that holds it, or None without a file.

    `given` is the value of CP_BOOTSTRAP_TOKEN; a blank value counts as unset. When any token exists, nothing changes: a
    revoked bootstrap token does not come back with a restart. Raises ConfigError when `given` is malformed or the file
    cannot be used.
    """
    given = (given or "").strip() or None
    if given is not None:
        _check(given, "CP_BOOTSTRAP_TOKEN")
    existing = tokens.list()
    if existing:
        if given is not None and split_token(given)[0] not in {token.id for token in existing}:
            log.warning(
                "CP_BOOTSTRAP_TOKEN is ignored: it counts on the first start only, and there are tokens already"
            )
        return None
    if given is not None:
        # Conflict: another replica that starts at the same moment has stored the same token.
        with suppress(Conflict):
            tokens.add(given, NAME, Role.ADMIN, None, now)
        return None
    path = data_dir / FILE
    # Write the file first: after a crash in between, the next start uses the file. The reverse order could store a
    # token whose text is lost.
    tokens.add(_read_or_make(path), NAME, Role.ADMIN, None, now)
    log.info("the admin token is in %s", path)
    return path


def _read_or_make(path: Path) -> str:
    if path.exists():
        return _read(path)
    text = new_token_text()
    try:
        write_whole(path, f"{text}\n".encode())
    except OSError as error:
        raise ConfigError(f"cannot write the admin token: {error.strerror}", file=path) from error
    return text


def _read(path: Path) -> str:
    try:
        path.chmod(0o600)
        text = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the admin token: {error.strerror}", file=path) from error
    _check(text, f"{path} (delete it, and a new token is made)")
    return text


def _check(text: str, place: str) -> None:
    try:
        split_token(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
