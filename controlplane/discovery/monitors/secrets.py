"""Secrets that monitors name, and their values as the API server answers them. Pure. No value is ever shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from controlplane.discovery.kubernetes.labels import key_of
from controlplane.discovery.monitors.access import Secret
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.jobs import Defaults, read_monitor
from controlplane.discovery.monitors.monitor import Monitor
from controlplane.traffic.kubernetes.resource import Json, text_at

MAX_NAME_LENGTH = 253
"""Longest name of an object of the API, in characters."""
_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
FAULT = "fault"
"""The field of a Secret that could not be read. It says why."""


def unread(namespace: str, name: str, fault: str) -> Json:
    """Return what stands for a Secret that could not be read."""
    return {"metadata": {"namespace": namespace, "name": name}, FAULT: fault}


def secrets_named(monitor: Monitor) -> frozenset[str]:
    """Return the `namespace/name` of each Secret that a monitor needs."""
    named: set[str] = set()

    def note(of: Fields, field: str) -> str:
        named.add(f"{monitor.namespace}/{_reference(of, field)[0]}")
        return ""

    read_monitor(monitor, Defaults(KubernetesSd(Role.POD)), note)
    return frozenset(named)


def by_key(secrets: Iterable[Mapping[str, object]]) -> Mapping[str, Json]:
    """Return Secrets by their `namespace/name`."""
    return {key_of(dict(each)): dict(each) for each in secrets}


def reader(monitor: Monitor, secrets: Mapping[str, Json]) -> Secret:
    """Return what reads the values of a monitor's references."""

    def value(of: Fields, field: str) -> str:
        name, key = _reference(of, field)
        place = f"Secret {monitor.namespace}/{name}"
        found = secrets.get(f"{monitor.namespace}/{name}")
        if found is None:
            raise of.error(field, f"{place} has not been read yet")
        if fault := text_at(found, FAULT):
            raise of.error(field, f"{place} cannot be read: {fault}")
        text = text_at(found, "data", key)
        if not text:
            raise of.error(field, f"{place} has no key {key}; name one that it has")
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise of.error(field, f"{place}: the value of {key} is no text") from error

    return value


def _reference(of: Fields, field: str) -> tuple[str, str]:
    reference = of.fields(field)
    name, key = reference.text("name"), reference.text("key")
    if not (name and key):
        raise of.error(field, "needs the name and the key of a Secret")
    # The name becomes a part of a path: one with `/` or `?` could lead to another object, in another namespace.
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise of.error(field, "its name is none that a Secret can have: small letters, digits, - and .")
    return name, key
