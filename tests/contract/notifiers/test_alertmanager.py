"""Alerts sent to Debian's Alertmanager, and to a fake one that misbehaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertState
from alerts.notify.alertmanager import AlertmanagerNotifier
from alerts.notify.http import HttpPoster
from tests.contract.notifiers.http_faults import FAULTS, Fault, fails, patience
from tests.contract.notifiers.messages import EDIT, FIRING, HUGE, NOTICE, RESOLVED, alert
from tests.contract.real_servers import alertmanager
from tests.fakes.receiver import Receiver, receiving
from tests.patience import HANG_S, until

# resolve_timeout is Alertmanager's own guess at the end of an alert without one. It must have no effect here.
CONFIG = """
global: {resolve_timeout: 1s}
route: {receiver: ops, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: ops, webhook_configs: [{url: "URL/hook"}]}]
"""


@asynccontextmanager
async def notifying(*urls: str, timeout_s: float = HANG_S, **options: Any) -> AsyncIterator[AlertmanagerNotifier]:
    own = AlertmanagerNotifier("am", urls, HttpPoster("am", timeout_s=timeout_s), **options)
    try:
        yield own
    finally:
        await own.close()


async def alerts_of(url: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        answer = await client.get(f"{url}/api/v2/alerts")
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found


@pytest.mark.needs("alertmanager")
async def test_a_firing_alert_stays_until_it_is_resolved_here(tmp_path: Path) -> None:
    async with receiving() as hook:
        with alertmanager(tmp_path, CONFIG.replace("URL", hook.url)) as url:
            async with notifying(url) as notifier:
                await notifier.send(FIRING, None)
                await until(lambda: hook.got)
                (one,) = await alerts_of(url)
                assert one["labels"] == dict(alert("chat").labels)
                assert one["startsAt"] == "2023-11-14T22:14:20.250Z"
                # Alertmanager ends the alert no sooner than a day after the message, whatever its resolve_timeout.
                ends, updated = (datetime.fromisoformat(one[name]) for name in ("endsAt", "updatedAt"))
                assert 86_000 < (ends - updated).total_seconds() < 86_800
                await notifier.send(RESOLVED, None)
                await until(lambda: any(got.json["status"] == "resolved" for got in hook.got))
                assert await alerts_of(url) == []
                resolved = next(got.json for got in hook.got if got.json["status"] == "resolved")
                assert resolved["alerts"][0]["endsAt"] == "2023-11-14T22:18:20Z"


@pytest.mark.needs("alertmanager")
async def test_an_alertmanager_that_restarted_gets_its_alerts_back(tmp_path: Path) -> None:
    async with receiving() as hook:
        config = CONFIG.replace("URL", hook.url)
        with alertmanager(tmp_path, config) as url:
            async with notifying(url) as notifier:
                await notifier.send(FIRING, None)
                assert len(await alerts_of(url)) == 1
        with alertmanager(tmp_path, config) as url:
            async with notifying(url) as notifier:
                assert await alerts_of(url) == [], "Alertmanager stores no alerts"
                await notifier.refresh(FIRING.firing)
                assert [one["labels"]["model"] for one in await alerts_of(url)] == ["chat"]
                await notifier.refresh((), RESOLVED.resolved)
                assert await alerts_of(url) == []


@pytest.mark.needs("alertmanager")
async def test_labels_of_any_content_and_notices_are_accepted(tmp_path: Path) -> None:
    with alertmanager(tmp_path, CONFIG.replace("URL", "http://127.0.0.1:1")) as url:
        async with notifying(url) as notifier:
            await notifier.send(replace(HUGE, firing=(*HUGE.firing[:5], alert("\r\n<!channel>\u202e", empty=""))), None)
            await notifier.send(NOTICE, None)
            found = await alerts_of(url)
            assert len(found) == 7
            (notice,) = (one for one in found if one["labels"]["alertname"] == "ControlPlaneNotice")
            ends, updated = (datetime.fromisoformat(notice[name]) for name in ("endsAt", "updatedAt"))
            assert 290 < (ends - updated).total_seconds() <= 300, "nothing resolves a notice, so it ends by itself"


async def test_a_large_group_is_sent_in_several_requests() -> None:
    async with receiving() as am, notifying(am.url) as notifier:
        many = tuple(alert("m", n=str(n)) for n in range(1201))
        await notifier.send(replace(FIRING, firing=many), None)
        assert [len(got.json) for got in am.taken] == [500, 500, 201]
        assert {got.path for got in am.taken} == {"/api/v2/alerts"}


async def test_an_end_is_never_ahead_for_what_is_over_and_never_before_the_start() -> None:
    over = alert("chat", AlertState.INACTIVE)
    cases = {
        "as it was": (over, "2023-11-14T22:18:20Z"),
        "the end is ahead of the clock": (replace(over, resolved_at=1_900_000_000.0), "2023-11-14T22:30:00Z"),
        "the end is not known": (replace(over, resolved_at=None), "2023-11-14T22:30:00Z"),
        "the clock was set back": (replace(over, resolved_at=1_600_000_000.0), "2023-11-14T22:14:20.25Z"),
    }
    async with receiving() as am, notifying(am.url, now=lambda: 1_700_001_000.0) as notifier:
        for one, _ in cases.values():
            await notifier.send(replace(RESOLVED, resolved=(one,)), None)
        assert [got.json[0]["endsAt"] for got in am.taken] == [ends for _, ends in cases.values()]


async def test_every_member_of_a_cluster_gets_the_alert_and_one_is_enough() -> None:
    async with receiving() as one, receiving() as other, notifying(one.url, other.url) as notifier:
        await notifier.send(FIRING, None)
        assert (len(one.taken), len(other.taken)) == (1, 1)
        other.misbehave("500")
        await notifier.send(FIRING, None)
        one.misbehave("401")
        other.misbehave("503")
        with pytest.raises(DeliveryFailed, match="answered 503") as failed:
            await notifier.send(FIRING, None)
        assert not failed.value.permanent, "a member that may recover keeps the message alive"


async def test_refused_annotations_are_left_out() -> None:
    async with receiving() as am, notifying(am.url) as notifier:
        am.misbehave('400::"invalid annotations"')
        ref = await notifier.send(FIRING, None)
        assert ref is not None and "invalid annotations" in ref.note
        (got,) = am.taken
        assert got.json[0]["annotations"] == {}
        assert got.json[0]["labels"]["model"] == "chat"


async def test_an_alert_that_another_receiver_refused_ends_by_itself() -> None:
    async with receiving() as am, notifying(am.url, now=lambda: 1_700_001_000.0) as notifier:
        await notifier.send(replace(FIRING, undelivered="pager could not deliver it: wrong key"), None)
        (one,) = am.taken[0].json
        assert one["endsAt"] == "2023-11-14T23:00:00Z", "its last message may reach only its own receiver"
        assert one["annotations"]["undelivered"] == "pager could not deliver it: wrong key"


async def test_an_edit_and_an_empty_refresh_send_nothing() -> None:
    async with receiving() as am, notifying(am.url) as notifier:
        assert await notifier.send(EDIT, None) is None
        await notifier.refresh(())
        assert am.got == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.fault)
async def test_faults_are_told_alike(fault: Fault) -> None:
    am: Receiver
    async with receiving() as am, notifying(am.url, timeout_s=patience(fault.fault)) as notifier:
        await fails(am, notifier, fault)
