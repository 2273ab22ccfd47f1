"""The webhook beside Debian's Alertmanager, and against a receiver that misbehaves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertState
from alerts.notify.http import HttpPoster
from alerts.notify.payload import label_fingerprint
from alerts.notify.webhook import WebhookNotifier
from collectors.samples import labels_of
from collectors.target import Auth
from tests.contract.notifiers.http_faults import FAULTS, Fault, fails, patience
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, RESOLVED, alert
from tests.contract.notifiers.tls import self_signed
from tests.contract.real_servers import alertmanager
from tests.fakes.receiver import Receiver, receiving
from tests.patience import HANG_S, until


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


@pytest.fixture
async def notifier(receiver: Receiver) -> AsyncIterator[WebhookNotifier]:
    async with notifying(receiver, HANG_S) as own:
        yield own


@asynccontextmanager
async def notifying(receiver: Receiver, timeout_s: float) -> AsyncIterator[WebhookNotifier]:
    own = WebhookNotifier("ops", lambda: f"{receiver.url}/secret-path", HttpPoster("ops", timeout_s=timeout_s))
    try:
        yield own
    finally:
        await own.close()


CONFIG = """
route: {receiver: ops, group_by: [alertname, model], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: ops, webhook_configs: [{url: "URL/hook"}]}]
"""


@pytest.mark.needs("alertmanager")
async def test_the_content_is_alertmanagers_own(receiver: Receiver, notifier: WebhookNotifier, tmp_path: Path) -> None:
    firing, resolved = alert("chat", node="n1"), alert("chat", AlertState.INACTIVE, node="n2")

    def whole() -> list[dict[str, Any]]:
        """Return the messages with both alerts: Alertmanager does not wait with old ones, and may send one alone."""
        return [got.json for got in receiver.got if len(got.json["alerts"]) == 2]

    with alertmanager(tmp_path, CONFIG.replace("URL", receiver.url)) as url:
        posted = [
            {"labels": dict(a.labels), "annotations": dict(a.annotations), "startsAt": "2023-11-14T22:14:20.25Z"}
            for a in (firing, resolved)
        ]
        async with httpx.AsyncClient(timeout=HANG_S) as client:
            (await client.post(f"{url}/api/v2/alerts", json=posted)).raise_for_status()
            await until(whole)
            ended = [posted[0], {**posted[1], "endsAt": "2023-11-14T22:18:20Z"}]
            (await client.post(f"{url}/api/v2/alerts", json=ended)).raise_for_status()
            await until(lambda: len(whole()) >= 2)
    theirs = whole()
    receiver.got.clear()
    node2 = replace(resolved, state=AlertState.FIRING, resolved_at=None)
    await notifier.send(replace(FIRING, firing=(firing, node2)), None)
    await notifier.send(replace(FIRING, firing=(firing,), resolved=(resolved,)), None)
    ours: list[dict[str, Any]] = [got.json for got in receiver.got]
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine) == list(other), "the same fields in the same order"
        assert [list(a) for a in mine["alerts"]] == [list(a) for a in other["alerts"]]
        for body in (mine, other):
            body["alerts"].sort(key=lambda a: a["labels"]["node"])
            del body["externalURL"], body["groupKey"]
            for each in body["alerts"]:
                del each["generatorURL"]
        assert mine == other


async def test_a_fingerprint_is_prometheuss() -> None:
    # Of Prometheus's own tests: the fingerprint of no labels, and of {fear="love"}-like sets is FNV-1a of 64 bits.
    assert label_fingerprint(()) == "cbf29ce484222325"
    assert label_fingerprint(labels_of({"a": "b"})) != label_fingerprint(labels_of({"b": "a"}))


async def test_a_message_has_its_id_its_alerts_and_the_console(receiver: Receiver, notifier: WebhookNotifier) -> None:
    await notifier.send(FIRING, None)
    await notifier.send(replace(RESOLVED, repeat=True), None)
    first, second = receiver.taken
    assert first.headers["x-message-id"] == FIRING.id
    assert second.headers["x-message-id"] == RESOLVED.id
    assert first.json["externalURL"] == "http://console.example/alerts"
    assert (first.json["status"], second.json["status"]) == ("firing", "resolved")
    assert first.json["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert second.json["alerts"][0]["endsAt"] == "2023-11-14T22:18:20Z"


async def test_an_alert_whose_data_is_lost_says_so(receiver: Receiver, notifier: WebhookNotifier) -> None:
    lost = replace(alert("chat"), unknown_since=1_700_000_100.0, away=("vllm/a:1", "vllm/b:1"))
    await notifier.send(replace(FIRING, firing=(lost,)), None)
    told = receiver.taken[0].json["alerts"][0]["annotations"]
    assert told["unknown_since"] == "2023-11-14T22:15:00Z"
    assert told["unknown_targets"] == "vllm/a:1, vllm/b:1"


async def test_a_notice_is_one_alert_and_an_edit_is_nothing(receiver: Receiver, notifier: WebhookNotifier) -> None:
    await notifier.send(NOTICE, None)
    assert await notifier.send(EDIT, None) is None
    (got,) = receiver.taken
    (one,) = got.json["alerts"]
    assert one["labels"] == {"alertname": "ControlPlaneNotice", "model": "chat", "severity": "info"}
    assert one["annotations"] == {"description": "It did not load.", "summary": "Promotion of chat to v2 failed"}


async def test_a_message_that_another_receiver_refused_says_so(receiver: Receiver, notifier: WebhookNotifier) -> None:
    await notifier.send(replace(FIRING, undelivered="pager: wrong key"), None)
    body = receiver.taken[0].json
    assert (
        body["commonAnnotations"]["undelivered"]
        == body["alerts"][0]["annotations"]["undelivered"]
        == "pager: wrong key"
    )


async def test_a_connection_is_used_again_by_the_messages_of_a_burst_only(
    receiver: Receiver, notifier: WebhookNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.notify.http.REUSED_WITHIN_S", 30.0)  # the machine may be slow
    await notifier.send(FIRING, None)
    await notifier.send(FIRING, None)
    assert receiver.taken[0].port == receiver.taken[1].port
    await notifier.close()
    monkeypatch.setattr("alerts.notify.http.REUSED_WITHIN_S", 0.01)
    await notifier.send(FIRING, None)
    await asyncio.sleep(0.02)
    await notifier.send(FIRING, None)
    assert receiver.taken[2].port != receiver.taken[3].port


async def test_max_alerts_counts_those_left_out(receiver: Receiver) -> None:
    own = WebhookNotifier("ops", lambda: receiver.url, HttpPoster("ops"), max_alerts=3)
    await own.send(HUGE, None)
    await own.close()
    assert len(receiver.taken[0].json["alerts"]) == 3
    assert receiver.taken[0].json["truncatedAlerts"] == 297


async def test_labels_add_no_header(receiver: Receiver, notifier: WebhookNotifier) -> None:
    await notifier.send(replace(ATTACK, group_key="ops{\r\nX-Evil: 1}"), None)
    (got,) = receiver.taken
    assert "x-evil" not in got.headers
    assert got.headers["x-message-id"] == r"ops{\r\nX-Evil: 1}/7/1"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.fault)
async def test_faults_are_told_alike(receiver: Receiver, fault: Fault) -> None:
    async with notifying(receiver, patience(fault.fault)) as notifier:
        await fails(receiver, notifier, fault)


@pytest.mark.parametrize("fault", ["garbage", "flood"])
async def test_the_answers_body_does_not_matter_and_is_bounded(
    receiver: Receiver, notifier: WebhookNotifier, fault: str
) -> None:
    receiver.misbehave(fault)
    await notifier.send(FIRING, None)


@pytest.mark.parametrize("fault", ["400::unknown field", "413::too large", "415", "422"])
async def test_a_refused_form_is_sent_again_as_plain_text(
    receiver: Receiver, notifier: WebhookNotifier, fault: str
) -> None:
    receiver.misbehave(fault)
    ref = await notifier.send(FIRING, None)
    assert ref is not None and ref.note.startswith("sent as plain text: ops: 127.0.0.1 answered 4")
    (got,) = receiver.taken
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.body.decode().splitlines()[:2] == ["FIRING: LLMErrorRateHigh · chat", "Model: chat"]
    assert got.headers["x-message-id"] == FIRING.id


async def test_a_form_that_is_refused_twice_is_final(receiver: Receiver, notifier: WebhookNotifier) -> None:
    receiver.misbehave("400::no", "400::no again")
    with pytest.raises(DeliveryFailed, match="no again") as failed:
        await notifier.send(FIRING, None)
    assert failed.value.permanent


async def test_credentials_and_headers_are_sent_and_read_anew(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "t-1")
    http = HttpPoster("ops", Auth(credentials_env="HOOK_TOKEN"), {"X-Tenant": "a"})
    own = WebhookNotifier("ops", lambda: receiver.url, http)
    await own.send(FIRING, None)
    monkeypatch.setenv("HOOK_TOKEN", "t-2")
    await own.send(FIRING, None)
    monkeypatch.delenv("HOOK_TOKEN")
    with pytest.raises(DeliveryFailed, match="variable HOOK_TOKEN is not set or empty") as failed:
        await own.send(FIRING, None)
    assert not failed.value.permanent
    await own.close()
    (tmp_path / "pw").write_text("p\n")
    basic = WebhookNotifier(
        "ops", lambda: receiver.url, HttpPoster("ops", Auth(username="u", password_file=str(tmp_path / "pw")))
    )
    await basic.send(FIRING, None)
    await basic.close()
    assert [got.headers["authorization"] for got in receiver.taken] == ["Bearer t-1", "Bearer t-2", "Basic dTpw"]
    assert receiver.taken[0].headers["x-tenant"] == "a"


async def test_a_certificate_is_checked_against_the_ca_file(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with receiving(tls=tls) as receiver:
        strict = WebhookNotifier("ops", lambda: receiver.url, HttpPoster("ops"))
        with pytest.raises(DeliveryFailed, match=r"TLS certificate refused: .*; renew it, or name its CA in") as failed:
            await strict.send(FIRING, None)
        assert failed.value.permanent, "another receiver gets the message at once"
        await strict.close()
        trusting = WebhookNotifier("ops", lambda: receiver.url, HttpPoster("ops", Auth(ca_file=str(certificate))))
        await trusting.send(FIRING, None)
        await trusting.close()
        assert len(receiver.taken) == 1


@pytest.mark.parametrize("url", ["", "ftp://x/y", "http://", "http://[::1", "no address"])
async def test_an_address_that_is_none_is_final_and_not_shown(url: str) -> None:
    own = WebhookNotifier("ops", lambda: url, HttpPoster("ops"))
    with pytest.raises(DeliveryFailed, match="the address is not http:// or https:// with a host") as failed:
        await own.send(FIRING, None)
    assert failed.value.permanent
    await own.close()
    await own.close()
