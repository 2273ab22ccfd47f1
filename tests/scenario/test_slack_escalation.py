"""An alert that nobody acknowledges reaches whoever is on call, in the thread of its message: a whole process."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.fakes.rollouts.slack_world import text_of
from tests.fakes.slack import running
from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, ask, up

FLEET = """\
fleet: {{name: test}}
evaluation_interval: 1s
rules: [rules.yml]
people: {{ann: {{slack: U0ANN}}}}
rotas: [{{name: primary, ical_file: rota.ics, fallback: log}}]
notifiers:
  - {{name: ops, type: slack, channel: "#ops", token_file: bot, base_url: "{url}"}}
  - {{name: pager, type: slack, channel: "#ops", token_file: bot, base_url: "{url}", on_call: primary}}
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  escalation: [{{after: 2s, receiver: pager}}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91), labels: {severity: critical, node: n1}, annotations: {summary: n1 is hot}}
"""


def calendar(now: datetime) -> str:
    begin = f"{now - timedelta(days=1):%Y%m%d}"
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        f"DTSTART;VALUE=DATE:{begin}\r\nRRULE:FREQ=DAILY\r\nSUMMARY:Ann\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


async def test_a_step_is_a_broadcast_reply_that_mentions_the_person_on_call(tmp_path: Path) -> None:
    (tmp_path / "bot").write_text("xoxb-right")
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "rota.ics").write_text(calendar(datetime.now(UTC)))
    async with running() as slack, up(tmp_path, FLEET.format(url=slack.url)) as (_, port):
        async with asyncio.timeout(PROCESS_S):
            while not any(message.get("reply_broadcast") for message in slack.messages):  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.05)
        (root,) = slack.roots()
        (reply,) = slack.thread(root["ts"])
        assert reply["text"].startswith("<@U0ANN> FIRING: Hot (1 firing): n1 is hot")
        assert "step 1 of 1: nobody had acknowledged it after 2s" in json.dumps(reply["blocks"])
        assert "<@U0ANN> on call" in text_of(reply)
        assert "<@" not in text_of(root)
        answer = await ask(port, "/cp/v1/rotas", TOKEN)
        (rota,) = json.loads(answer.partition(b"\r\n\r\n")[2])["items"]
        assert (rota["on_call"], rota["fault"], rota["gaps"]) == (["ann"], None, [])
