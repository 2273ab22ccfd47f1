"""Verbs about the API keys of the gateways' clients."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import age, clock, columns, emit, say, tell

Limit = float | str | None
"""A number, `none` for the removal of a limit, or None: the option was not given."""
LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent",
    "daily_tokens",
    "monthly_tokens",
    "daily_usd",
    "monthly_usd",
)


def keys_list(tenant: str | None, url: str | None, context: str | None, output: str) -> None:
    """List the keys of all tenants, or of one. Their secrets are not kept and cannot be shown."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/keys", tenant=tenant)["items"]
    emit(items, output, lambda: _print(items))


def keys_show(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Show one key with its limits."""
    with connect(url, context) as client:
        found = client.get(f"/cp/v1/keys/{_id(identifier)}")
    emit(found, output, lambda: _print_one(found))


def keys_create(
    name: str,
    tenant: str,
    role: str,
    model: list[str] | None,
    expires_in: str | None,
    priority: int,
    requests_per_minute: Limit,
    tokens_per_minute: Limit,
    concurrent: Limit,
    daily_tokens: Limit,
    monthly_tokens: Limit,
    daily_usd: Limit,
    monthly_usd: Limit,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    wanted = {
        "name": name,
        "tenant": tenant,
        "role": role,
        "models": model or None,
        "limits": _asked(
            requests_per_minute,
            tokens_per_minute,
            concurrent,
            daily_tokens,
            monthly_tokens,
            daily_usd,
            monthly_usd,
        ),
        "priority": priority,
        "expires_in": expires_in,
    }
    with connect(url, context) as client:
        announce(client)
        made = client.post("/cp/v1/keys", wanted)
    emit(made, output, lambda: say(made["key"]))


def keys_limits(
    identifier: str,
    requests_per_minute: Limit,
    tokens_per_minute: Limit,
    concurrent: Limit,
    daily_tokens: Limit,
    monthly_tokens: Limit,
    daily_usd: Limit,
    monthly_usd: Limit,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Change limits of a key. A limit that is not named stays. Raises WrongUsage when none is named."""
    changes = _asked(
        requests_per_minute, tokens_per_minute, concurrent, daily_tokens, monthly_tokens, daily_usd, monthly_usd
    )
    if not changes:
        raise WrongUsage("name at least one limit to change, such as --requests-per-minute 60; none removes a limit")
    with connect(url, context) as client:
        announce(client)
        changed = client.post(f"/cp/v1/keys/{_id(identifier)}/limits", changes)
    emit(changed, output, lambda: _print_one(changed))


def keys_revoke(identifier: str, url: str | None, context: str | None) -> None:
    """Revoke a key."""
    with connect(url, context) as client:
        announce(client)
        client.delete(f"/cp/v1/keys/{_id(identifier)}")
    say(f"key {identifier} is revoked")


def _id(identifier: str) -> str:
    """Return the id, for a path. A whole key is refused: its secret would be in logs of the way."""
    if identifier.startswith("cpk_"):
        raise WrongUsage("give the key's id, the part between `cpk_` and the next `_`, and never the key itself")
    return quoted(identifier)


def _asked(*given: Limit) -> dict[str, float | None]:
    """Return the limits that were given, in the order of LIMITS. The word `none` removes a limit."""
    named = zip(LIMITS, given, strict=True)
    return {name: None if isinstance(value, str) else value for name, value in named if value is not None}


def _print(items: list[dict[str, Any]]) -> None:
    rows = [
        [
            i["id"],
            i["tenant"],
            i["name"],
            i["role"],
            ", ".join(i["models"]) if i["models"] is not None else "all",
            _in_words(i["limits"]) or "-",
            age(i["created_at"]),
            clock(i["expires_at"]) if i["expires_at"] else "never",
            "revoked" if i["revoked_at"] else "" if i["live"] else "expired",
        ]
        for i in items
    ]
    columns(
        ["ID", "TENANT", "NAME", "ROLE", "MODELS", "LIMITS", "AGE", "EXPIRES", ""],
        rows,
        "no keys; make one: controlplane keys create --tenant TENANT --name NAME",
    )


def _print_one(found: dict[str, Any]) -> None:
    state = "revoked" if found["revoked_at"] else "live" if found["live"] else "expired"
    lines = {
        "key": f"{found['prefix']}…",
        "tenant": found["tenant"],
        "name": found["name"],
        "state": state,
        "role": found["role"],
        "models": ", ".join(found["models"]) if found["models"] is not None else "all",
        "priority": str(found["priority"]),
        "created": f"{clock(found['created_at'])} by {found['created_by']}",
        "expires": clock(found["expires_at"]) if found["expires_at"] else "never",
        "revoked": clock(found["revoked_at"]) if found["revoked_at"] else "",
    }
    limits = {name.replace("_", " "): found["limits"][name] for name in LIMITS}
    lines |= {name: f"{value:,}" for name, value in limits.items() if value is not None}
    for name, text in lines.items():
        if text:
            tell(f"{name}: ", text)


def _in_words(limits: dict[str, Any]) -> str:
    return ", ".join(f"{limits[name]:,} {_SHORT[name]}" for name in LIMITS if limits[name] is not None)


_SHORT = {
    "requests_per_minute": "req/min",
    "tokens_per_minute": "tok/min",
    "concurrent": "open",
    "daily_tokens": "tok/day",
    "monthly_tokens": "tok/month",
    "daily_usd": "$/day",
    "monthly_usd": "$/month",
}
