"""Verbs about the files of versions: what is known of them, and their approval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.cli.client import announce, connect, quoted
from controlplane.cli.render import age, clock, columns, emit, percent, say, size, tell
from controlplane.cli.table import UNKNOWN

SHORT = 12
"""Characters of a digest in the table. `-o json` has all."""


def versions(model: str, url: str | None, context: str | None, output: str) -> None:
    """List every known version of a model: serving, on disk, in backups."""
    with connect(url, context) as client:
        items = client.get(f"/cp/v1/models/{quoted(model)}/versions")["items"]
    header = ("VERSION", "WHERE", "DIGEST", "SIZE", "FORMAT", "QUANTISATION", "FROM", "")

    def table() -> None:
        columns(header, [row for item in items for row in _rows(item)], f"{model} has no versions")
        for item in items:
            if item["changed"]:
                tell(f"{item['version']}: ", item["changed"])

    emit(items, output, table)


def approve(model: str, version: str, digest: str | None, reason: str, url: str | None, context: str | None) -> None:
    """Approve the files of a version, so that it can be promoted although they changed."""
    with connect(url, context) as client:
        announce(client)
        path = f"/cp/v1/models/{quoted(model)}/versions/{quoted(version)}/approval"
        view = client.post(path, {"digest": digest, "reason": reason})
    say(f"the files of {version} of {model} with the digest {view['digest']} are approved")


def _rows(item: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for what serves, then for each place on disk, then for each copy in a backup."""
    facts, name = item["facts"], item["version"]
    kind, quantised = facts.get("format", UNKNOWN), facts.get("quantisation", UNKNOWN)
    if item["role"] is not None:
        served = item["served"]
        digest = None if served is None else served["digest"]
        share = "" if item["traffic_share"] is None else f" {percent(item['traffic_share'])}"
        by = UNKNOWN if served is None else f"rollout {served['rollout']}"
        yield name, f"{item['role']}{share}", _short(digest), UNKNOWN, kind, quantised, by, _state(item)
    for place in item["disk"]:
        told = place["fault"] or (f"changed {age(place['changed_at'])} ago" if item["changed"] else "")
        yield (
            name,
            place["path"],
            _short(place["digest"]),
            size(place["bytes"]),
            kind,
            quantised,
            _origin(facts) if place["digest"] else UNKNOWN,
            told,
        )
    for copy in item["backups"]:
        at = UNKNOWN if copy["at"] is None else clock(copy["at"])
        told = copy["fault"] or {True: "", False: "not what is on disk", None: ""}[copy["same"]]
        where = f"backup {copy['snapshot']} {at}"
        same = copy["digest"] == item["digest"]
        known = (kind, quantised) if same else (UNKNOWN, UNKNOWN)
        yield name, where, _short(copy["digest"]), size(copy["bytes"]), *known, f"{copy['by']} on {copy['host']}", told


def _state(item: dict[str, Any]) -> str:
    if item["changed"]:
        return "NOT WHAT WAS APPROVED"
    approved = item["approved"]
    return "" if approved is None else f"approved by {approved['by']}"


def _origin(facts: dict[str, str]) -> str:
    """Return where files come from: a repository and a commit, else the user who owns them."""
    origin = facts.get("origin", "")
    if origin:
        repository, _, commit = origin.rpartition("@")
        return f"{repository or 'hf:'}@{commit[:SHORT]}"
    return facts.get("owner", UNKNOWN)


def _short(digest: str | None) -> str:
    return UNKNOWN if digest is None else digest[:SHORT]
