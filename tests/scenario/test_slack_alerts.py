"""Alerts that people acknowledge, snooze and silence from Slack: a whole process, and a Slack whose people click."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.rollouts.slack_world import buttons_of, text_of, title_of
from tests.fakes.slack import FakeSlack, running
from tests.fakes.slack_app import APP_TOKEN
from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, ask, up

FLEET = """\
fleet: {{name: test}}
evaluation_interval: 1s
rules: [rules.yml]
notifiers: [{{name: ops, type: slack, channel: "#ops", token_file: bot, base_url: "{url}"}}]
route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
slack:
  app_token_file: app
  base_url: "{url}"
  people:
    U1ANA: {{name: ana, role: operator}}
    U2VIC: {{name: vic, role: viewer}}
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91), labels: {severity: critical, node: n1}, annotations: {summary: n1 is hot}}
"""
FRESH, TAKEN = ["Acknowledge", "Snooze 1 h", "Silence 2 h"], ["Give back", "Silence 2 h"]


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[FakeSlack, int]]:
    for name, secret in (("bot", "xoxb-right"), ("app", APP_TOKEN)):
        (folder / name).write_text(secret)
    (folder / "rules.yml").write_text(RULES)
    async with running() as slack, up(folder, FLEET.format(url=slack.url)) as (_, port):
        await slack.app.until(lambda: len(slack.app.sockets) == 1)
        await until(lambda: len(slack.roots()) == 1)
        yield slack, port


async def until(holds: Any) -> None:
    async with asyncio.timeout(PROCESS_S):
        while not holds():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def get(port: int, path: str) -> Any:
    return json.loads((await ask(port, path, TOKEN)).partition(b"\r\n\r\n")[2])["items"]


async def test_an_alert_is_taken_given_back_snoozed_and_silenced(tmp_path: Path) -> None:
    async with world(tmp_path) as (slack, port):
        app = slack.app
        root = slack.roots()[0]
        assert (title_of(root), buttons_of(root)) == ("FIRING: Hot", FRESH)
        assert "acknowledged" not in text_of(root)
        await app.click("U2VIC", root, "alert.acknowledge")
        await app.until(lambda: len(app.answers) == 1)
        assert app.answers[0][1].startswith("Not done: this needs role operator, and vic has role viewer")

        await app.click("U1ANA", root, "alert.acknowledge")
        await until(lambda: buttons_of(slack.roots()[0]) == TAKEN)
        root = slack.roots()[0]
        assert title_of(root) == "FIRING: Hot"
        assert "n1 is hot (acknowledged by ana)" in text_of(root)
        assert slack.thread(root["ts"]) == [], "an edit notifies nobody"
        assert app.answers[1][1] == (
            "Acknowledged by you as ana: Hot (node=n1). Nobody is notified of it again until it has resolved."
        )
        (alert,) = await get(port, "/cp/v1/alerts")
        assert (alert["acknowledged"]["by"], alert["acknowledged"]["comment"]) == ("ana", "via slack")

        await app.click("U1ANA", root, "alert.unacknowledge")
        await until(lambda: buttons_of(slack.roots()[0]) == FRESH)
        root = slack.roots()[0]
        await until(lambda: slack.thread(root["ts"]))  # the reply is a message of its own, after the edit
        assert len(slack.thread(root["ts"])) == 1, "it is told again"
        await app.click("U1ANA", root, "alert.snooze")
        await until(lambda: "n1 is hot (snoozed by ana)" in text_of(slack.roots()[0]))

        payload = app.payload("U1ANA", slack.roots()[0], "alert.silence")
        await app.deliver(payload)
        await app.deliver(payload)
        await until(lambda: any("Silenced by you as ana until" in said for _, said in app.answers))
        (silence,) = await get(port, "/cp/v1/silences")
        assert (silence["matchers"], silence["owner"], silence["mutes"]) == (['alertname="Hot"'], "ana", 1)
        audited = [act["action"] for act in await get(port, "/cp/v1/audit?actor=ana")]
        assert audited == ["silence.create", "alert.snooze", "alert.unacknowledge", "alert.acknowledge"]
        assert len(slack.roots()) == 1
