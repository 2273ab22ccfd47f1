"""Discovery, version and health: paths that need no right."""

import json
from typing import Any

from aiohttp import web

from tests.fakes.kubernetes.kinds import KINDS, Kind

Json = dict[str, Any]

VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "$Format:%H$",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.27.3",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_CUSTOM_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


def discovered(method: str, path: str, accept: str, url: str) -> web.Response | None:
    """Return the answer to a path of discovery, version or health, or None for another path."""
    parts = [part for part in path.split("/") if part]
    if method != "GET" or not parts:
        return None
    if parts in (["readyz"], ["livez"], ["healthz"]):
        return web.Response(text="ok")
    found: Json | None = None
    if parts == ["version"]:
        found = VERSION
    elif parts == ["api"]:
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": url.removeprefix("http://")}
        found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
    elif parts == ["apis"]:
        names = dict.fromkeys(kind.group for kind in KINDS if kind.group)
        found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in names]}
    elif parts == ["api", "v1"]:
        found = {"kind": "APIResourceList", "groupVersion": "v1", "resources": _resources("", "v1")}
    elif parts[0] == "apis" and len(parts) == 2 and any(kind.group == parts[1] for kind in KINDS):
        found = {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])}
    elif parts[0] == "apis" and len(parts) == 3 and _resources(parts[1], parts[2]):
        named = f"{parts[1]}/{parts[2]}"
        resources = _resources(parts[1], parts[2])
        found = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": named, "resources": resources}
    if found is None:
        return None
    return web.Response(body=json.dumps(found).encode() + b"\n", content_type="application/json")


def _group(name: str) -> Json:
    versions = list(dict.fromkeys(version for kind in KINDS if kind.group == name for version in kind.versions))
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resources(group: str, version: str) -> list[Json]:
    found: list[Json] = []
    for kind in KINDS:
        if kind.group == group and version in kind.versions:
            found += _resource(kind)
    return found


def _resource(kind: Kind) -> list[Json]:
    whole: Json = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _CUSTOM_VERBS if kind.custom else _VERBS,
    }
    out = [whole]
    for name in sorted(kind.subresources):
        part: Json = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
        if name == "scale":
            part |= {"group": "autoscaling", "version": "v1"}
        out.append(part | {"kind": "Scale" if name == "scale" else kind.kind, "verbs": ["get", "patch", "update"]})
    return out
