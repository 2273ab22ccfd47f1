"""Check the surroundings that fleet.yaml names: secrets, certificates, folders, the database."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alerts.errors import DeliveryFailed
from controlplane.app.checks.findings import Findings
from controlplane.app.checks.routing import can_route
from controlplane.app.checks.secrets import access_faults, notifier_faults
from controlplane.app.parts.route import receives_buttons
from controlplane.app.slack_token import app_token, signing_secret
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.config.traffic.base import Backend
from controlplane.config.vocabulary import Access, Model, whole
from controlplane.errors import ConfigError


def check_surroundings(loaded: LoadedFleet, findings: Findings) -> None:
    """Add findings for secrets that are unset, unreadable or empty, and for missing folders. Blocking."""
    for loc, section in _sections(loaded.fleet, ()):
        if isinstance(section, Access):
            for name, fault in access_faults(section):
                findings.warn((*loc, name), fault)
        if isinstance(section, Backend):
            _check_backend(section, loc, findings)
    for number, notifier in enumerate(loaded.fleet.notifiers if loaded.fleet.reads("notifiers") else ()):
        if whole(notifier):
            for name, fault in notifier_faults(notifier):
                findings.warn(("notifiers", number, name), fault)
    _check_slack(loaded, findings)
    _check_database(loaded, findings)


def _check_slack(loaded: LoadedFleet, findings: Findings) -> None:
    section = loaded.fleet.slack if loaded.fleet.reads("slack") else None
    if section is None or not whole(section):
        return
    for name, secret in (("app_token", app_token(section)), ("signing_secret", signing_secret(section))):
        if secret is not None:
            try:
                secret()
            except DeliveryFailed as failure:
                findings.warn(("slack", f"{name}_env" if secret.env else f"{name}_file"), str(failure))
    if not section.people:
        findings.warn(("slack",), "people: is empty, so nobody may click a button; name at least one person")
    if can_route(loaded) and not receives_buttons(loaded):
        findings.warn(("slack",), "no message has buttons, because route.receiver is no notifier of type slack")


def _sections(value: Any, loc: Loc) -> Iterator[tuple[Loc, Model]]:
    """Yield every section below a value that could be read, with its place."""
    if isinstance(value, Model):
        yield loc, value
        fields = type(value).model_fields
        for name, inner in vars(value).items():
            yield from _sections(inner, (*loc, fields[name].alias or name))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _sections(inner, (*loc, number))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _sections(inner, (*loc, key))


def _check_backend(section: Backend, loc: Loc, findings: Findings) -> None:
    if section.reads("repository") and section.repository and not section.repository.is_dir():
        findings.warn(
            (*loc, "repository"),
            f"{section.repository} is not a folder here, so a restart of Triton would undo switches",
        )
    if section.reads("grpc") and section.grpc and importlib.util.find_spec("grpc") is None:
        findings.warn((*loc, "grpc"), "needs the package grpcio: pip install grpcio")


def _check_database(loaded: LoadedFleet, findings: Findings) -> None:
    url = loaded.fleet.database if loaded.fleet.reads("database") else None
    if not url:
        return
    # Imported only here: the import takes long, few files need it, and `up` must refuse a bad file at once.
    from controlplane.store.database import Database

    try:
        database = Database(url)
    except ConfigError as error:
        findings.error(("database",), error.reason)
        return
    file = database.engine.url.database if database.is_sqlite else None
    database.close()
    if file and not Path(file).absolute().parent.is_dir():
        findings.warn(("database",), f"the folder {Path(file).absolute().parent} does not exist here")
