"""Notifiers with `send_resolved: false`: from the first message of a group to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.charts import NO_CHARTS, Charting
from alerts.interfaces import AlertState, MessageRef, Notifier
from alerts.notify.firing_only import EDITED, LEFT_OUT
from alerts.sending.refresh import Refreshing
from controlplane.app.notifying.recipes import recipe_of
from tests.contract.notifiers.messages import EDIT, FIRING, NOTICE, RESOLVED, alert
from tests.fakes.fleet_text import parse_fleet
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.slack import TOKEN, FakeSlack, running

MIXED = replace(FIRING, resolved=(alert("embed", AlertState.INACTIVE),), sequence=2)
ENDED = replace(RESOLVED, sequence=3)


def made(fields: str) -> Notifier:
    text = f"fleet: {{name: a}}\nnotifiers: [{{name: ops, send_resolved: false, {fields}}}]\n"
    return recipe_of(parse_fleet(text, Path("fleet.yaml")).notifiers[0]).made()


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


@pytest.fixture
async def slack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSlack]:
    monkeypatch.setenv("TOKEN", TOKEN)
    async with running() as server:
        yield server


async def test_a_receiver_is_told_of_firing_alerts_alone(hook: Receiver) -> None:
    notifier = made(f"type: webhook, url: '{hook.url}'")
    refs = [await notifier.send(message, None) for message in (FIRING, MIXED, ENDED, NOTICE)]
    told = [[(one["status"], one["labels"].get("model")) for one in got.json["alerts"]] for got in hook.taken]
    assert told == [[("firing", "chat")], [("firing", "chat")], [("firing", "chat")]]
    assert [got.json["alerts"][0]["labels"]["alertname"] for got in hook.taken][2] == "ControlPlaneNotice"
    assert refs[2] == MessageRef("", LEFT_OUT)
    await notifier.close()


async def test_a_message_in_slack_is_edited_to_its_end_and_notifies_nobody(slack: FakeSlack) -> None:
    notifier = made(f'type: slack, channel: "#ops", token_env: TOKEN, base_url: "{slack.url}"')
    root = await notifier.send(FIRING, None)
    assert await notifier.send(MIXED, root) == root
    (message,) = slack.roots()
    assert message["text"].startswith("FIRING: LLMErrorRateHigh chat (1 firing)")
    assert len(slack.thread(message["ts"])) == 1
    ended = await notifier.send(ENDED, root)
    assert root is not None and ended == replace(root, note=EDITED)
    (message,) = slack.roots()
    assert message["text"].startswith("RESOLVED: LLMErrorRateHigh chat (1 resolved)")
    assert len(slack.thread(message["ts"])) == 1, "nothing is posted"
    slack.messages.clear()
    assert await notifier.send(ENDED, root) == MessageRef("", LEFT_OUT), "the message was deleted"
    assert await notifier.send(ENDED, None) == MessageRef("", LEFT_OUT), "no message has arrived"
    assert slack.messages == []
    await notifier.close()


async def test_edits_of_dispatch_still_edit(slack: FakeSlack) -> None:
    notifier = made(f'type: slack, channel: "#ops", token_env: TOKEN, base_url: "{slack.url}"')
    root = await notifier.send(FIRING, None)
    assert await notifier.send(replace(EDIT, notice=None, status="firing", firing=FIRING.firing), root) == root
    assert [method for method, _ in slack.calls] == ["chat.postMessage", "chat.update"]
    await notifier.close()


async def test_charts_reach_the_notifier_inside(slack: FakeSlack) -> None:
    notifier = made(f'type: slack, channel: "#ops", token_env: TOKEN, base_url: "{slack.url}"')
    assert isinstance(notifier, Charting) and not isinstance(notifier, Refreshing)
    notifier.use_charts(NO_CHARTS)
    made("type: log").use_charts(NO_CHARTS)  # type: ignore[attr-defined]  # it has none, and takes none
    assert notifier.inner._charts.source is NO_CHARTS  # type: ignore[attr-defined]
    await notifier.close()
