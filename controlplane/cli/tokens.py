"""Verbs about access tokens. `create --data-dir` needs no token and no running control plane: the way back in."""

from __future__ import annotations

import time
from pathlib import Path

from controlplane.cli.client import announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import age, clock, columns, emit, say


def token_list(url: str | None, context: str | None, output: str) -> None:
    """List tokens. Their secrets are not kept and cannot be shown."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/tokens")["items"]
    rows = [
        [
            t["id"],
            t["name"],
            t["role"],
            age(t["created_at"]),
            clock(t["expires_at"]) if t["expires_at"] else "never",
            "revoked" if t["revoked_at"] else "",
        ]
        for t in items
    ]
    emit(items, output, lambda: columns(["ID", "NAME", "ROLE", "AGE", "EXPIRES", ""], rows, "no tokens"))


def token_create(
    name: str,
    role: str,
    expires_in: str | None,
    data_dir: Path | None,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Create a token and print it. It cannot be shown again.

    With --data-dir the new token is written straight into the SQLite database of that folder. That needs no token.
    """
    if data_dir is not None:
        say(_create_offline(data_dir, name, role, expires_in))
        return
    with connect(url, context) as client:
        announce(client)
        made = client.post("/cp/v1/tokens", {"name": name, "role": role, "expires_in": expires_in})
    emit(made, output, lambda: say(made["token"]))


def _create_offline(data_dir: Path, name: str, role: str, expires_in: str | None) -> str:
    from controlplane.access import Role, TokenStore
    from controlplane.config.durations import duration_seconds
    from controlplane.store.database import Database
    from controlplane.store.migrate import migrate

    file = data_dir / "controlplane.db"
    if not file.exists():
        raise WrongUsage(f"{file} does not exist: is that the data folder of `controlplane up`?")
    now = time.time()
    try:
        expires_at = now + duration_seconds(expires_in) if expires_in else None
    except ValueError as error:
        raise WrongUsage(f"--expires-in: {error}") from error
    db = Database(f"sqlite:///{file}")
    try:
        migrate(db)
        return TokenStore(db).create(name, Role(role), expires_at, now, by="the owner of the files")[1]
    finally:
        db.close()


def token_revoke(identifier: str, url: str | None, context: str | None) -> None:
    """Revoke a token at once."""
    with connect(url, context) as client:
        announce(client)
        client.delete(f"/cp/v1/tokens/{quoted(identifier)}")
    say(f"token {identifier} is revoked")
