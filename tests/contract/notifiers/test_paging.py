"""On-call services, against fakes that check what the real ones check."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, Notifier, OnCall
from alerts.notify.http import HttpPoster
from alerts.notify.own_texts import OwnTexted
from alerts.notify.paging.identity import incident_key
from alerts.notify.paging.opsgenie import OpsgenieNotifier
from alerts.notify.paging.pagerduty import PagerDutyNotifier
from alerts.texts.templates import OwnText, OwnTexts, TemplateSet
from tests.contract.notifiers.http_faults import FAULTS, Fault, fails, patience
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, RESOLVED, STORM, alert
from tests.fakes import receivers
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.receivers import KEY
from tests.patience import HANG_S

INCIDENT = incident_key(FIRING)


@asynccontextmanager
async def pagerduty(key: str = KEY, timeout_s: float = HANG_S) -> AsyncIterator[tuple[Receiver, Notifier]]:
    async with receiving(receivers.pagerduty) as receiver:
        http = HttpPoster("ops", timeout_s=timeout_s)
        own = PagerDutyNotifier("ops", lambda: key, http, url=f"{receiver.url}/")
        try:
            yield receiver, own
        finally:
            await own.close()


@asynccontextmanager
async def opsgenie(
    key: str = KEY, timeout_s: float = HANG_S, **options: Any
) -> AsyncIterator[tuple[Receiver, Notifier]]:
    async with receiving(receivers.opsgenie) as receiver:
        http = HttpPoster("ops", timeout_s=timeout_s)
        own = OpsgenieNotifier("ops", lambda: key, http, url=receiver.url, **options)
        try:
            yield receiver, own
        finally:
            await own.close()


async def test_pagerduty_has_one_incident_for_a_group() -> None:
    async with pagerduty() as (receiver, notifier):
        ref = await notifier.send(FIRING, None)
        assert ref is not None and (ref.place, ref.note) == (INCIDENT, "")
        two = replace(FIRING, firing=(alert("chat"), alert("chat", node="n2")), sequence=2)
        await notifier.send(two, ref)
        # After a restoration of the database the generation may be another. The incident must still be resolved.
        await notifier.send(replace(RESOLVED, generation=99), ref)
        assert [got.path for got in receiver.taken] == ["/v2/enqueue"] * 3
        events = [got.json for got in receiver.taken]
        assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
        assert {event["dedup_key"] for event in events} == {INCIDENT}
        payload = events[0]["payload"]
        assert payload["summary"] == "FIRING: LLMErrorRateHigh chat (1 firing): 5% of requests to chat fail"
        assert (payload["source"], payload["severity"], payload["component"]) == ("chat", "critical", "chat")
        assert (payload["class"], payload["timestamp"]) == ("LLMErrorRateHigh", "2023-11-14T22:14:30+00:00")
        assert payload["custom_details"]["Since"] == "2023-11-14 22:14:20 UTC"
        assert payload["custom_details"]["alerts"] == ["5% of requests to chat fail"]
        assert events[0]["links"] == [
            {"href": "http://console.example/alerts", "text": "Console"},
            {"href": "https://runbooks.example/LLMErrorRateHigh.md", "text": "Runbook"},
        ]
        assert events[0]["client_url"] == "http://console.example/alerts"


@pytest.mark.parametrize(
    ("severity", "theirs", "priority"),
    [("critical", "critical", "P1"), ("warning", "warning", "P3"), ("info", "info", "P5"), ("page", "error", "P3")],
)
async def test_severities(severity: str, theirs: str, priority: str) -> None:
    message = replace(FIRING, firing=(alert("chat", severity=severity),))
    async with pagerduty() as (receiver, notifier):
        await notifier.send(message, None)
        assert receiver.taken[0].json["payload"]["severity"] == theirs
    async with opsgenie() as (receiver, notifier):
        await notifier.send(message, None)
        assert receiver.taken[0].json["priority"] == priority


async def test_a_notice_pages_nobody() -> None:
    async with pagerduty() as (receiver, notifier):
        ref = await notifier.send(NOTICE, None)
        assert ref is not None and ref.place == ""
        (got,) = receiver.taken
        assert got.path == "/v2/change/enqueue", "a change event opens no incident"
        assert got.json["payload"]["summary"] == "Promotion of chat to v2 failed: It did not load."
        assert await notifier.send(EDIT, None) is None
    async with opsgenie() as (receiver, notifier):
        first = await notifier.send(NOTICE, None)
        second = await notifier.send(replace(NOTICE, sequence=2), first)
        assert await notifier.send(EDIT, None) is None
        assert first is not None and second is not None and first.place != second.place
        assert {got.json["priority"] for got in receiver.taken} == {"P5"}


async def test_opsgenie_has_the_people_on_call_as_responders() -> None:
    async with opsgenie(teams=("gpu",), people={"ann": "ann@example.org"}) as (receiver, notifier):
        await notifier.send(replace(FIRING, on_call=OnCall("primary", ("ann", "bo"))), None)
        assert receiver.taken[0].json["responders"] == [
            {"username": "ann@example.org", "type": "user"},
            {"name": "gpu", "type": "team"},
        ]


EVERYWHERE = "{{ range .Alerts }}{{ .Labels.model }}, {{ end }}"
IN_EVENTS = ("description", "source", "client", "component", "group", "class", "severity", "details.x")
IN_ALERTS = (
    "title",
    "text",
    "source",
    "entity",
    "note",
    "priority",
    "tags",
    "actions",
    "details.x",
    "responders.0.name",
)
LONG = replace(HUGE, firing=HUGE.firing[:10])


@pytest.mark.parametrize("message", [ATTACK, LONG, replace(LONG, status="resolved")], ids=["hostile", "long", "ended"])
async def test_own_texts_in_every_place_stay_within_the_limits(message: Message) -> None:
    def texted(inner: Notifier, places: Sequence[str], more: Mapping[str, str]) -> OwnTexted:
        texts = {**dict.fromkeys(places, EVERYWHERE), **more}
        return OwnTexted(inner, OwnTexts(TemplateSet(), "ops", tuple(OwnText(*one) for one in texts.items())))

    links = {f"links.{n}.{name}": EVERYWHERE for n in range(30) for name in ("href", "text")}
    async with pagerduty() as (receiver, notifier):
        more = {"links.0.href": "https://d.example", "images.0.src": "javascript:x", "client_url": "ftp://d.example"}
        ref = await texted(notifier, IN_EVENTS, links | more).send(message, None)
        assert ref is not None and ref.note == "", "PagerDuty took it as it was"
        event = receiver.taken[0].json
        assert "images" not in event and event.get("client_url", message.console_url) == message.console_url
    types = {f"responders.{n}.type": "teams" for n in range(30)}
    async with opsgenie() as (receiver, notifier):
        ref = await texted(notifier, IN_ALERTS, types).send(message, None)
        assert ref is not None and ref.note == "", "Opsgenie took it as it was"


async def test_responders_of_the_configuration_are_told_of_every_message() -> None:
    night = {"type": "schedule", "name": "night"}
    async with opsgenie(teams=("gpu",), responders=(night,)) as (receiver, notifier):
        own = OwnTexts(TemplateSet(), "ops", (OwnText("responders.0.type", "user"), OwnText("responders.0.id", "u1")))
        for message in (FIRING, NOTICE, STORM):
            await OwnTexted(notifier, own).send(message, None)
        every = [{"name": "gpu", "type": "team"}, night]
        assert [got.json["responders"] for got in receiver.taken] == [
            [*every, {"id": "u1", "type": "user"}],
            every,
            every,
        ]


async def test_opsgenie_has_one_alert_for_a_group() -> None:
    async with opsgenie(teams=("gpu",), tags=("llm",)) as (receiver, notifier):
        ref = await notifier.send(FIRING, None)
        assert ref is not None and (ref.place, ref.note) == (INCIDENT, "")
        await notifier.send(RESOLVED, ref)
        created, closed = receiver.taken
        content = created.json
        assert (content["message"], content["alias"]) == ("FIRING: LLMErrorRateHigh · chat", INCIDENT)
        assert content["details"] == {"alertname": "LLMErrorRateHigh", "model": "chat", "severity": "critical"}
        assert content["responders"] == [{"name": "gpu", "type": "team"}]
        assert (content["tags"], content["entity"]) == (["llm", "critical"], "chat")
        assert "Runbook: https://runbooks.example/LLMErrorRateHigh.md" in content["description"].splitlines()
        assert (closed.path, closed.query) == (f"/v2/alerts/{INCIDENT}/close", {"identifierType": "alias"})


@pytest.mark.parametrize("service", [pagerduty, opsgenie])
async def test_groups_of_any_size_and_labels_of_any_content_are_accepted(service: Any) -> None:
    async with service() as (receiver, notifier):
        wide = alert("chat", **{f"label_{n}": "x" * 2000 for n in range(60)})
        for message in (HUGE, ATTACK, replace(FIRING, firing=(wide,))):
            ref = await notifier.send(message, None)
            assert ref is not None and ref.note == "", "the fake refuses what is too long"
        assert b"\\u202e" not in receiver.taken[1].body.lower().replace(b"\\\\u202e", b"")


@pytest.mark.parametrize("service", [pagerduty, opsgenie])
async def test_a_refused_form_is_sent_again_with_the_least(service: Any) -> None:
    async with service() as (receiver, notifier):
        receiver.misbehave('400::{"status": "invalid event", "errors": ["custom_details is odd"]}')
        ref = await notifier.send(FIRING, None)
        assert ref is not None and ref.place == INCIDENT
        assert "sent as plain text" in ref.note and "custom_details is odd" in ref.note
        (got,) = receiver.taken
        assert not {"links", "details", "description"} & set(got.json)
        assert "custom_details" not in got.json.get("payload", {})


async def test_a_wrong_key_is_final_and_not_shown() -> None:
    async with pagerduty("wrong-key-000000") as (_, notifier):
        with pytest.raises(DeliveryFailed, match="'routing_key' is missing or invalid") as failed:
            await notifier.send(FIRING, None)
        assert failed.value.permanent and "wrong-key" not in str(failed.value)
    async with opsgenie("wrong-key-000000") as (_, notifier):
        with pytest.raises(DeliveryFailed, match="check the API key, and that url: is of its region") as failed:
            await notifier.send(FIRING, None)
        assert failed.value.permanent and "wrong-key" not in str(failed.value)
    async with opsgenie("bad\r\nX-Evil: 1") as (receiver, notifier):
        with pytest.raises(DeliveryFailed, match="holds a line break"):
            await notifier.send(FIRING, None)
        assert receiver.got == []


@pytest.mark.parametrize("service", [pagerduty, opsgenie])
@pytest.mark.parametrize("fault", [f for f in FAULTS if not f.fault.startswith("401")], ids=lambda f: f.fault)
async def test_faults_are_told_alike(service: Any, fault: Fault) -> None:
    async with service(timeout_s=patience(fault.fault)) as (receiver, notifier):
        await fails(receiver, notifier, fault)
