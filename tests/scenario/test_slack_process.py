"""A whole control plane as a process, and a Slack whose people click: over Socket Mode and over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.fakes.slack import running
from tests.fakes.slack_app import APP_TOKEN, SECRET, Clicked
from tests.patience import HANG_S
from tests.scenario.up import TOKEN, ask, up

FLEET = """\
fleet: {{name: test}}
rules: []
notifiers: [{{name: ops, type: slack, channel: "#ops", token_file: bot, base_url: "{url}"}}]
slack:
  app_token_file: app
  signing_secret_file: secret
  base_url: "{url}"
  people:
    U1ANA: {{name: ana, role: operator}}
"""
BUTTON = {"type": "button", "action_id": "rollout.back", "value": "r-none", "text": {"text": "Roll back"}}
MESSAGE = {"ts": "1.1", "channel": "C1", "text": "", "blocks": [{"type": "actions", "elements": [BUTTON]}]}


async def test_clicks_reach_the_process_by_both_ways_and_a_replay_by_neither(tmp_path: Path) -> None:
    for name, secret in (("bot", "xoxb-right"), ("app", APP_TOKEN), ("secret", SECRET)):
        (tmp_path / name).write_text(secret)
    async with running() as slack, up(tmp_path, FLEET.format(url=slack.url)) as (_, port):
        app = slack.app
        app.request_url = f"http://127.0.0.1:{port}/api/v1/slack/interactions"
        await app.until(lambda: len(app.sockets) == 1)
        payload = app.payload("U1ANA", MESSAGE, "rollout.back")
        assert await app.deliver(payload) == Clicked(acknowledged=True)
        await app.until(lambda: len(app.answers) == 1)
        assert await app.deliver(payload) == Clicked(acknowledged=True), "a repeated envelope is acknowledged"
        assert await app.deliver(payload, way="http") == Clicked(acknowledged=True, status=200)
        assert await app.deliver(payload, way="http") == Clicked(acknowledged=False, status=401)
        assert await app.click("U9EVE", MESSAGE, "rollout.back", way="http") == Clicked(True, 200)
        await app.until(lambda: len(app.answers) == 2)
        assert app.answers[0] == ("U1ANA", "Not done: there is no rollout r-none; `cp rollouts list` names them.")
        assert app.answers[1][1].startswith("Not done: this control plane does not know your Slack id U9EVE")
        refused = ""
        async with asyncio.timeout(HANG_S):
            while "slack/U9EVE" not in refused:  # it is written every few seconds
                refused = (await ask(port, "/cp/v1/audit?action=token.refuse", TOKEN)).decode()
        (row,) = json.loads(refused.partition("\r\n\r\n")[2])["items"]
        assert row["subject"] == "slack/U9EVE"
    assert app.sockets == [], "the process said goodbye"
