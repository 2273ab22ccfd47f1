"""`POST /api/v2/alerts`: what is taken, what is refused and with which words, as Alertmanager has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from alerts.interfaces import AlertInstance, AlertState
from alerts.received import ReceivedAlert
from controlplane.access.roles import Role
from controlplane.api.app import create_api
from controlplane.api.interop import alertmanager_alerts as route
from controlplane.errors import Unavailable

NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""


class Desk:
    """Keeps what it takes, or cannot."""

    def __init__(self) -> None:
        self.taken: list[ReceivedAlert] = []
        self.fault = ""

    @property
    def shared_now(self) -> float:
        return NOW

    async def take(self, alerts: Sequence[ReceivedAlert]) -> None:
        if self.fault:
            raise Unavailable(self.fault)
        self.taken += alerts

    def generator_urls(self, fingerprints: Collection[str]) -> Mapping[str, str]:
        return dict.fromkeys(fingerprints, "http://prom/graph?g0.expr=up")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@asynccontextmanager
async def client(rig: Any, desk: Desk, role: Role = Role.ALERT_SENDER) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client(role, create_api(replace(rig.services(), received=desk))) as made:
        yield made


def alert(**more: Any) -> dict[str, Any]:
    return {"labels": {"alertname": "Hot"}} | more


@pytest.mark.parametrize(
    ("times", "starts_at", "ends_at", "is_assumed"),
    [
        ({}, NOW, NOW + 300, True),
        ({"startsAt": "2027-01-15T07:59:00Z"}, NOW - 60, NOW + 300, True),
        ({"startsAt": "", "endsAt": "0001-01-01T00:00:00.000Z"}, NOW, NOW + 300, True),
        ({"endsAt": "2027-01-15T09:04:00.5+01:00"}, NOW + 240.5, NOW + 240.5, False),
        (
            {"startsAt": "2027-01-15T07:59:00.123456789Z", "endsAt": "2027-01-15T08:04:00Z"},
            NOW - 60 + 0.123456789,
            NOW + 240,
            False,
        ),
        ({"startsAt": "2027-01-15T07:00:00Z", "endsAt": "2027-01-15T07:59:59Z"}, NOW - 3600, NOW - 1, False),
    ],
)
async def test_times_that_are_left_out_are_alertmanagers(
    rig: Any, desk: Desk, times: dict[str, str], starts_at: float, ends_at: float, is_assumed: bool
) -> None:
    async with client(rig, desk) as asked:
        answer = await asked.post("/api/v2/alerts", json=[alert(**times)])
    assert (answer.status_code, answer.content) == (200, b"")
    (taken,) = desk.taken
    assert taken.starts_at == pytest.approx(starts_at)
    assert (taken.ends_at, taken.timeout) == (ends_at, is_assumed)
    assert (taken.sender, taken.updated_at) == ("test-alert-sender", NOW)


async def test_an_alert_is_taken_with_all_that_it_says(rig: Any, desk: Desk) -> None:
    said = {
        "labels": {"alertname": "Hot", "gone": "", "größe": "7"},
        "annotations": {"summary": "hot", "empty": ""},
        "generatorURL": "http://prom/graph",
        "unknown": 1,
    }
    async with client(rig, desk) as asked:
        assert (await asked.post("/api/v2/alerts", json=[said, said])).status_code == 200
    (taken,) = desk.taken
    assert dict(taken.labels) == {"alertname": "Hot", "größe": "7"}
    assert dict(taken.annotations) == {"summary": "hot", "empty": ""}
    assert (taken.generator_url, taken.rule) == ("http://prom/graph", "received;test-alert-sender;Hot")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"labels": {}}, "at least one label pair required"),
        ({"labels": {"a": ""}}, "at least one label pair required"),
        ({"labels": {"": "a"}}, "invalid label set: invalid name ''"),
        (
            alert(startsAt="2027-01-15T08:00:00Z", endsAt="2027-01-15T07:00:00Z"),
            "start time must be before end time",
        ),
        (alert(startsAt="soon"), "startsAt: 'soon' is not a time of RFC 3339, such as 2026-01-31T12:00:00Z"),
        (alert(endsAt="2027-13-15T08:00:00Z"), "endsAt: '2027-13-15T08:00:00Z' is not a time of RFC 3339"),
        ({"labels": {"a": "x" * 4097}}, "label a has 4097 characters, at most 4096 are accepted"),
        ({"labels": {f"l{n}": "x" for n in range(65)}}, "65 labels, at most 64 are accepted"),
        (alert(annotations={"a": "x" * 16385}), "annotation a has 16385 characters"),
        (alert(annotations={"a": "\0"}), "annotation a holds a character that cannot be stored"),
        (alert(annotations={"a": "\ud800"}), "annotation a holds a character that cannot be stored"),
        (alert(generatorURL="h" * 8193), "generatorURL has 8193 characters"),
    ],
)
async def test_a_faulty_alert_is_refused_and_the_others_are_taken(
    rig: Any, desk: Desk, said: dict[str, Any], fault: str
) -> None:
    async with client(rig, desk) as asked:
        # Escaped: a lone surrogate has no UTF-8.
        body = json.dumps([alert(), said])
        answer = await asked.post("/api/v2/alerts", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json().startswith(f"alert 1: {fault}")
    assert [dict(taken.labels) for taken in desk.taken] == [{"alertname": "Hot"}]


async def test_a_hundred_faults_are_one_short_answer(rig: Any, desk: Desk) -> None:
    async with client(rig, desk) as asked:
        answer = await asked.post("/api/v2/alerts", json=[{"labels": {}}] * 100)
    assert answer.status_code == 400
    assert answer.json().endswith("alert 9: at least one label pair required; and 90 more")
    assert desk.taken == []


@pytest.mark.parametrize("body", [b"{not json", b"{}", b'[{"labels": {"a": 1}}]', b"[7]", b'[{"annotations": {}}]'])
async def test_a_body_of_another_shape_is_refused_whole(rig: Any, desk: Desk, body: bytes) -> None:
    async with client(rig, desk) as asked:
        answer = await asked.post("/api/v2/alerts", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert desk.taken == []


async def test_too_many_alerts_and_too_large_bodies_are_refused(
    rig: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(rig, desk) as asked:
        many = [{"labels": {"n": str(n)}} for n in range(route.MOST_ALERTS + 1)]
        assert (await asked.post("/api/v2/alerts", json=many)).status_code in (400, 422)
        large = b"[" + b" " * route.BODY_BYTES + b"]"
        answer = await asked.post("/api/v2/alerts", content=large, headers={"content-type": "application/json"})
    assert (answer.status_code, desk.taken) == (413, [])


async def test_alerts_that_cannot_be_stored_are_to_be_sent_again(rig: Any, desk: Desk) -> None:
    desk.fault = "the database is full"
    async with client(rig, desk) as asked:
        answer = await asked.post("/api/v2/alerts", json=[alert()])
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_a_senders_token_reads_nothing_and_an_operators_sends(rig: Any, desk: Desk) -> None:
    async with client(rig, desk) as asked:
        assert (await asked.get("/api/v2/alerts")).status_code == 403
        assert (await asked.get("/cp/v1/fleet")).status_code == 403
    async with client(rig, desk, Role.VIEWER) as asked:
        assert (await asked.post("/api/v2/alerts", json=[alert()])).status_code == 403
    async with client(rig, desk, Role.OPERATOR) as asked:
        assert (await asked.post("/api/v2/alerts", json=[alert()])).status_code == 200


async def test_a_received_alert_is_listed_with_its_senders_page(rig: Any, desk: Desk) -> None:
    labels = (("alertname", "Hot"),)
    instance = AlertInstance("received;prom;Hot", labels, (), AlertState.FIRING, float("nan"), NOW - 60, NOW - 60)
    rig.alert_log.record("received;prom;Hot", (instance,), ())
    async with client(rig, desk, Role.VIEWER) as asked:
        (listed,) = (await asked.get("/api/v2/alerts")).json()
        (shown,) = (await asked.get("/api/v1/alerts")).json()["data"]["alerts"]
    assert (listed["generatorURL"], listed["startsAt"]) == ("http://prom/graph?g0.expr=up", "2027-01-15T07:59:00.000Z")
    assert (shown["state"], shown["value"]) == ("firing", "NaN")
