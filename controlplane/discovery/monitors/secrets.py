"""Secrets and ConfigMaps that monitors name, and their values as the API server answers them. Pure.

No value is ever shown.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collectors.discovery.group import Objects
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from controlplane.discovery.kubernetes.labels import key_of
from controlplane.discovery.monitors.access import Secret
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.made import Defaults
from controlplane.discovery.monitors.monitor import Monitor
from controlplane.discovery.monitors.reading import read_monitor
from controlplane.traffic.kubernetes.resource import Json, text_at, value_at

SECRETS, CONFIG_MAPS = "secrets", "configmaps"
"""The kinds of objects that references name, by the plurals of the API."""
_TITLES = {SECRETS: "Secret", CONFIG_MAPS: "ConfigMap"}
MAX_NAME_LENGTH = 253
"""Longest name of an object of the API, in characters."""
_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
FAULT = "fault"
"""The field of an object that could not be read. It says why."""


class Named(NamedTuple):
    """An object that a monitor names."""

    kind: str
    """SECRETS or CONFIG_MAPS."""
    namespace: str
    name: str

    @property
    def title(self) -> str:
        """Its kind in words."""
        return _TITLES[self.kind]


def unread(named: Named, fault: str) -> Json:
    """Return what stands for an object that could not be read."""
    return {"metadata": {"namespace": named.namespace, "name": named.name}, FAULT: fault}


def values_of(named: Named, found: Json, keys: Iterable[str]) -> Json:
    """Return what is kept of an object: the values of some of its keys."""
    data = value_at(found, "data")
    kept = {key: data[key] for key in sorted(keys) if key in data} if isinstance(data, dict) else {}
    return {"metadata": {"namespace": named.namespace, "name": named.name}, "data": kept}


def objects_named(monitors: Iterable[Monitor]) -> Mapping[Named, set[str]]:
    """Return each object that monitors need, with the keys that they need of it."""
    named: dict[Named, set[str]] = {}
    for monitor in monitors:
        _note(monitor, named)
    return named


def _note(monitor: Monitor, named: dict[Named, set[str]]) -> None:
    def note(of: Fields, field: str, *, of_map: bool = False) -> str:
        one, key = _reference(monitor, of, field, of_map=of_map)
        named.setdefault(one, set()).add(key)
        return ""

    read_monitor(monitor, Defaults(KubernetesSd(Role.POD), classes=None), note)


def by_name(objects: Objects) -> Mapping[tuple[str, str], Json]:
    """Return Secrets and ConfigMaps by their kind and `namespace/name`."""
    return {(kind, key_of(dict(each))): dict(each) for kind in _TITLES for each in objects.get(kind, ())}


def reader(monitor: Monitor, known: Mapping[tuple[str, str], Json]) -> Secret:
    """Return what reads the values of a monitor's references."""

    def value(of: Fields, field: str, *, of_map: bool = False) -> str:
        named, key = _reference(monitor, of, field, of_map=of_map)
        place = f"{named.title} {named.namespace}/{named.name}"
        found = known.get((named.kind, f"{named.namespace}/{named.name}"))
        if found is None:
            raise of.error(field, f"{place} has not been read yet")
        if fault := text_at(found, FAULT):
            raise of.error(field, f"{place} cannot be read: {fault}")
        text = text_at(found, "data", key)
        if not text:
            raise of.error(field, f"{place} has no key {key}; name one that it has")
        if of_map:
            return text
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise of.error(field, f"{place}: the value of {key} is no text") from error

    return value


def _reference(monitor: Monitor, of: Fields, field: str, *, of_map: bool) -> tuple[Named, str]:
    kind = CONFIG_MAPS if of_map else SECRETS
    reference = of.fields(field)
    name, key = reference.text("name"), reference.text("key")
    if not (name and key):
        raise of.error(field, f"needs the name and the key of a {_TITLES[kind]}")
    # The name becomes a part of a path: one with `/` or `?` could lead to another object, in another namespace.
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise of.error(field, f"its name is none that a {_TITLES[kind]} can have: small letters, digits, - and .")
    return Named(kind, monitor.namespace, name), key
