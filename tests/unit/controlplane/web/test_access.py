from __future__ import annotations

from typing import Any

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, Public

ACCESS = {
    "GET /": Role.VIEWER,
    "GET /models/{name}": Role.VIEWER,
    "GET /targets": Role.VIEWER,
    "GET /alerts": Role.VIEWER,
    "GET /alerts/{fingerprint}": Role.VIEWER,
    "GET /query": Role.VIEWER,
    "GET /rollouts": Role.VIEWER,
    "GET /rollouts/{rollout_id}": Role.VIEWER,
    "GET /backups": Role.VIEWER,
    "GET /backups/{job}": Role.VIEWER,
    "GET /backups/{job}/run": Role.OPERATOR,
    "POST /backups/{job}/run": Role.OPERATOR,
    "GET /notifications": Role.VIEWER,
    "GET /audit": Role.OPERATOR,
    "GET /alerts/{fingerprint}/acknowledge": Role.OPERATOR,
    "POST /alerts/{fingerprint}/acknowledge": Role.OPERATOR,
    "GET /alerts/{fingerprint}/snooze": Role.OPERATOR,
    "POST /alerts/{fingerprint}/snooze": Role.OPERATOR,
    "GET /alerts/{fingerprint}/unacknowledge": Role.OPERATOR,
    "POST /alerts/{fingerprint}/unacknowledge": Role.OPERATOR,
    "GET /silences": Role.VIEWER,
    "GET /silences/preview": Role.OPERATOR,
    "GET /silences/new": Role.OPERATOR,
    "POST /silences/new": Role.OPERATOR,
    "GET /silences/{silence_id}/extend": Role.OPERATOR,
    "POST /silences/{silence_id}/extend": Role.OPERATOR,
    "GET /silences/{silence_id}/expire": Role.OPERATOR,
    "POST /silences/{silence_id}/expire": Role.OPERATOR,
    "GET /keys": Role.VIEWER,
    "GET /keys/new": Role.ADMIN,
    "POST /keys/new": Role.ADMIN,
    "GET /keys/{key_id}/limits": Role.ADMIN,
    "POST /keys/{key_id}/limits": Role.ADMIN,
    "GET /keys/{key_id}/revoke": Role.ADMIN,
    "POST /keys/{key_id}/revoke": Role.ADMIN,
    "GET /runbooks": Role.VIEWER,
    "GET /runbooks/{name}": Role.VIEWER,
    "GET /models/{name}/promote/{version}": Role.OPERATOR,
    "POST /models/{name}/promote/{version}": Role.OPERATOR,
    "GET /models/{name}/rollback": Role.OPERATOR,
    "POST /models/{name}/rollback": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/abort": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/abort": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/pause": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/pause": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/resume": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/resume": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/approve": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/approve": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/full": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/full": Role.OPERATOR,
    "GET /rollouts/{rollout_id}/retry": Role.OPERATOR,
    "POST /rollouts/{rollout_id}/retry": Role.OPERATOR,
    "GET /models/{name}/quarantine/{version}": Role.ADMIN,
    "POST /models/{name}/quarantine/{version}": Role.ADMIN,
    "GET /sign-in": Public.YES,
    "POST /sign-in": Public.YES,
    "POST /sign-out": Role.VIEWER,
}
"""Every route of the console, and the least role that may call it."""


def test_every_route_of_the_console_has_its_role(console: Any) -> None:
    api = {route.path for route in console.rig.app().routes if isinstance(route, GuardedRoute)}
    routes = [r for r in console.app().routes if isinstance(r, GuardedRoute) and r.path not in api]
    assert {f"{method} {route.path}": route.access for route in routes for method in route.methods} == ACCESS
