"""Verbs about access tokens. `create --data-dir` works beside a stopped control plane too: the way back in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from controlplane.cli.client import connect
from controlplane.cli.errors import WrongUsage
from controlplane.cli.options import As, DataDir, Url
from controlplane.cli.render import Output, age, columns, emit, say
from controlplane.config.vocabulary import duration_seconds

token = typer.Typer(help="Create, list and revoke access tokens.", no_args_is_help=True)


@token.command("list")
def token_list(url: Url = None, output: As = Output.TABLE) -> None:
    """List tokens. Their secrets are not kept and cannot be shown."""
    with connect(url) as client:
        items = client.get("/cp/v1/tokens")["items"]
    rows = [
        [
            t["id"],
            t["name"],
            t["role"],
            age(t["created_at"]),
            t["expires_at"] or "never",
            "revoked" if t["revoked_at"] else "",
        ]
        for t in items
    ]
    emit(items, output, lambda: columns(["ID", "NAME", "ROLE", "AGE", "EXPIRES", ""], rows, "no tokens"))


@token.command("create")
def token_create(
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    role: Annotated[str, typer.Option("--role", help="viewer, operator or admin.")] = "viewer",
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="A duration such as 30d; by default never.")
    ] = None,
    data_dir: DataDir = None,
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """Create a token and print it: the only time that it can be seen.

    With --data-dir it is written straight into the SQLite database there, without a token: for who owns the files.
    """
    if data_dir is not None:
        say(_create_offline(data_dir, name, role, expires_in))
        return
    with connect(url) as client:
        made = client.post("/cp/v1/tokens", {"name": name, "role": role, "expires_in": expires_in})
    emit(made, output, lambda: say(made["token"]))


def _create_offline(data_dir: Path, name: str, role: str, expires_in: str | None) -> str:
    from controlplane.access import Role, TokenStore
    from controlplane.store.database import Database
    from controlplane.store.migrate import migrate

    file = data_dir / "controlplane.db"
    if not file.exists():
        raise WrongUsage(f"{file} does not exist: is that the data folder of `controlplane up`?")
    if role not in [r.value for r in Role]:
        raise WrongUsage(f"--role {role}: expected one of {', '.join(r.value for r in Role)}")
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


@token.command("revoke")
def token_revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id that `token list` prints.")], url: Url = None
) -> None:
    """Revoke a token at once."""
    with connect(url) as client:
        client.delete(f"/cp/v1/tokens/{quote(identifier, safe='')}")
    say(f"token {identifier} is revoked")
