"""Prometheus's status API about the server itself: `status/config`, `flags`, `runtimeinfo`, `tsdb`."""

from __future__ import annotations

import os
import platform
import re
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from fastapi import APIRouter
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.interop.asker import AskerDep
from controlplane.api.prometheus import QUERY_TIMEOUT_S, ParamsDep, success
from controlplane.api.prometheus_params import bad
from controlplane.api.services import ServicesDep
from controlplane.config.model import Fleet
from controlplane.metrics.series.budget import EngineLimits

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

HIDDEN = "<secret>"
MOST_LISTED = 10_000
"""Largest value of `limit`, the same as in Prometheus."""
_NAMES_OF_SECRETS = re.compile(r"password|secret|token|credential|api_?key|cookie|headers|environment", re.IGNORECASE)
_PLACES_OF_SECRETS = ("_file", "_env")
"""Ends of field names that hold a file or a variable and not the secret itself, such as `token_file`."""


@router.get("/api/v1/status/config")
@requires(Role.VIEWER)
def config(services: ServicesDep) -> Response:
    """Return the running configuration with its defaults, as YAML; secrets are left out."""
    return success({"yaml": yaml.safe_dump(without_secrets(services.config()), sort_keys=False, allow_unicode=True)})


@router.get("/api/v1/status/flags")
@requires(Role.VIEWER)
def flags(services: ServicesDep) -> Response:
    """Return limits under the names of Prometheus's flags for them. All values are text."""
    metrics, limits = services.config().metrics, EngineLimits()
    return success(
        {
            "query.lookback-delta": _duration(limits.lookback_s),
            "query.max-samples": str(limits.max_samples),
            "query.timeout": _duration(QUERY_TIMEOUT_S),
            "storage.tsdb.retention.size": f"{metrics.retention_size}B",
            "storage.tsdb.retention.time": _duration(metrics.retention),
            "web.enable-admin-api": "false",
            "web.enable-lifecycle": "false",
            "web.enable-remote-write-receiver": str(metrics.query_url is None).lower(),
        }
    )


@router.get("/api/v1/status/runtimeinfo")
@requires(Role.VIEWER)
def runtimeinfo(services: ServicesDep) -> Response:
    """Return the start time of this server and the result of its last configuration reload."""
    run, metrics = services.run(), services.config().metrics
    return success(
        {
            "startTime": _time(run.started_at),
            "CWD": "",
            "hostname": platform.node(),
            "serverTime": _time(services.clock.now()),
            "reloadConfigSuccess": run.reload_ok,
            "lastConfigTime": _time(run.configured_at),
            "corruptionCount": 0,
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOMEMLIMIT": 0,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": _duration(metrics.retention),
        }
    )


@router.get("/api/v1/status/tsdb")
@requires(Role.VIEWER)
async def tsdb(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """Return the counts of series and labels, the largest of each kind first (`limit`)."""
    text = params.get("limit") or "10"
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise bad("limit", "limit must be a positive number")
    if int(text) > MOST_LISTED:
        raise bad("limit", f"limit must not exceed {MOST_LISTED}")
    found = await asker.wait_for(services.exports.export("cardinality", [int(text)], asker=asker.id))
    return Response(b'{"status":"success","data":' + found + b"}", media_type="application/json")


def without_secrets(fleet: Fleet) -> Any:
    """Return the configuration as plain values, with HIDDEN for what may be a secret by its name or in an address."""
    return _shown("", fleet.model_dump(mode="json", by_alias=True, exclude_none=True))


def _shown(name: str, value: Any) -> Any:
    if _NAMES_OF_SECRETS.search(name) and not name.endswith(_PLACES_OF_SECRETS):
        if isinstance(value, dict) and name.lower() in ("headers", "environment"):
            return dict.fromkeys(value, HIDDEN)
        if isinstance(value, str):
            return HIDDEN
    if isinstance(value, dict):
        shown = {key: _shown(str(key), one) for key, one in value.items()}
        if value.get("type") == "webhook" and "url" in value:
            shown["url"] = _host_only(value["url"])  # the path of a webhook may be its secret
        return shown
    if isinstance(value, list):
        return [_shown(name, one) for one in value]
    return _address(value) if isinstance(value, str) and "://" in value else value


def _host_only(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{HIDDEN}"


def _address(url: str) -> str:
    """Return an address with HIDDEN for its password and for the values of its query string."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    user = f"{user.partition(':')[0]}:{HIDDEN}" if ":" in user else user
    query = re.sub(r"=[^&]*", f"={HIDDEN}", parts.query) if "=" in parts.query else parts.query and HIDDEN
    return urlunsplit((parts.scheme, f"{user}{at}{host}", parts.path, query, ""))


def _duration(seconds: float) -> str:
    """Return a duration as Prometheus writes it: `1d`, `5m`, `1h30m`."""
    left, text = round(seconds * 1000), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
