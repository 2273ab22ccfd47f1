"""Heartbeats of other programs over HTTP, and their metrics."""

from __future__ import annotations

from typing import Any

import httpx

from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from tests.unit.controlplane.api.conftest import NOW

FLEET = {"fleet": {"name": "t"}, "notifications": {"heartbeats": [{"name": "backup", "within": "1d"}]}}


async def test_a_heartbeat_is_recorded_with_the_name_of_its_token(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(FLEET)
    async with rig.client(Role.ALERT_SENDER) as operator:
        answer = await operator.post("/cp/v1/heartbeats/backup")
        unknown = await operator.post("/cp/v1/heartbeats/backups")
    assert (answer.status_code, answer.json()["beats"]) == (200, 1)
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "no heartbeat is called backups; notifications.heartbeats of fleet.yaml declares backup",
    )
    rig.clock.time = NOW + 86_401
    assert (await viewer.get("/cp/v1/heartbeats")).json()["items"] == [
        {
            "name": "backup",
            "at": "2027-01-15T08:00:00.000Z",
            "by": "test-alert-sender",
            "beats": 1,
            "within_seconds": 86400.0,
            "missing": True,
        }
    ]
    text = (await viewer.get("/metrics")).text
    assert 'controlplane_heartbeat_age_seconds{heartbeat="backup"} 86401.0' in text
    assert 'controlplane_heartbeat_within_seconds{heartbeat="backup"} 86400.0' in text
    assert 'controlplane_heartbeats_total{heartbeat="backup"} 1.0' in text


async def test_a_viewer_sends_no_heartbeat(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(FLEET)
    assert (await viewer.post("/cp/v1/heartbeats/backup")).status_code == 403
