"""A node that dies is one message in Slack: a whole process, which is killed in the middle of the storm."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.fakes.rollouts.slack_world import text_of, title_of
from tests.fakes.slack import FakeSlack, running
from tests.patience import PROCESS_S, until
from tests.scenario.up import ROOT, TOKEN, ask, up

FLEET = """\
fleet: {{name: test}}
evaluation_interval: 1s
scrape: {{interval: 5s, timeout: 5s}}
rules: [rules.yml]
notifiers: [{{name: ops, type: slack, channel: "#ops", token_file: bot, base_url: "{url}", chart: false}}]
route: {{receiver: ops, group_by: [model, alertname], group_wait: 1s, group_interval: 1s}}
targets:
"""
TARGET = '  - {{engine: custom, addresses: ["{address}"], labels: {{node: {node}, model: {model}}}}}\n'
RULES = """\
groups:
  - name: g
    rules:
      - alert: EngineDown
        expr: up == 0 and on (node) (avg by (node) (up) == 0)
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.model }} on {{ $labels.node }} is down"}
"""
"""The alerts of a node begin in one evaluation and end in one: how many messages they are does not depend on the time
between two scrapes. A busy machine must not scrape a node that is well too late, so the deadline is long."""
STORM = "ops//storm{node='n1'}"


@dataclass
class Machines:
    """The exporters of a node each of whose models has an address of its own."""

    node: str
    addresses: list[str] = field(default_factory=list)
    dead: bool = False

    async def metrics(self, request: web.Request) -> web.Response:
        if self.dead:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="running 1\n")

    def targets(self, count: int) -> str:
        """Return the entries of fleet.yaml for the first targets of the node."""
        addresses = enumerate(self.addresses[:count])
        return "".join(TARGET.format(address=a, node=self.node, model=f"{self.node}-m{n}") for n, a in addresses)


@asynccontextmanager
async def exporters(node: str, count: int) -> AsyncIterator[Machines]:
    machines = Machines(node)
    app = web.Application()
    app.router.add_get("/metrics", machines.metrics)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        for _ in range(count):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        machines.addresses = [f"{host}:{port}" for host, port in (one[:2] for one in runner.addresses)]
        yield machines
    finally:
        await runner.cleanup()


async def until_up(port: int, count: int) -> None:
    path = "/api/v1/query?query=" + quote('sum(up{job="custom"})')
    async with asyncio.timeout(PROCESS_S):
        while f'"{count}"' not in (await ask(port, path, TOKEN)).decode():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def alerts(port: int, state: str) -> list[dict[str, Any]]:
    answer = await ask(port, f"/cp/v1/alerts?state={state}", TOKEN)
    found: list[dict[str, Any]] = json.loads(answer.partition(b"\r\n\r\n")[2])["items"]
    return found


async def explain(port: int, fingerprint: str) -> list[tuple[str, str]]:
    """Return stage and sentence of each leg, as `cp alerts explain` has them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "alerts", "explain", fingerprint, "-o", "json"),
        env={"CP_URL": f"http://127.0.0.1:{port}", "CP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), PROCESS_S)
    return [(leg["stage"], leg["sentence"]) for leg in json.loads(out)["legs"]]


def shown(slack: FakeSlack) -> tuple[str, list[str]]:
    """Return the title of the one message in the channel, and what its thread says of each change."""
    (root,) = slack.roots()
    return title_of(root), [line["text"].partition(": ")[0] for line in slack.thread(root["ts"])]


async def test_a_node_that_dies_is_one_message_whatever_dies_with_it(tmp_path: Path) -> None:
    (tmp_path / "bot").write_text("xoxb-right")
    (tmp_path / "rules.yml").write_text(RULES)
    async with running() as slack, exporters("n1", 13) as node, exporters("n2", 6) as calm:
        fleet = FLEET.format(url=slack.url) + calm.targets(6)
        async with up(tmp_path, fleet + node.targets(12)) as (pid, port):
            await until_up(port, 18)
            assert slack.messages == []
            node.dead = True
            await until(lambda: bool(slack.roots()), PROCESS_S)
            assert shown(slack) == ("FIRING: storm, node n1", [])
            lines = text_of(slack.roots()[0])
            assert "12 alerts of 12 groups with node=n1 began together" in lines
            assert "12 × EngineDown (critical)" in lines
            assert lines.count(" on n1 is down") == 8
            assert "… and 4 more" in lines
            firing = await alerts(port, "firing")
            assert [one["labels"]["node"] for one in firing] == ["n1"] * 12
            for one in (firing[0], firing[11]):
                (leg,) = await explain(port, one["fingerprint"])
                assert leg[0] == "storm"
                assert leg[1].startswith(f"storm: folded into message {STORM}/")
            os.kill(pid, signal.SIGKILL)

        # While the control plane is away, a thirteenth engine is placed on the dead node.
        async with up(tmp_path, fleet + node.targets(13)) as (_, port):
            await until(lambda: "13 alerts of 13 groups" in text_of(slack.roots()[0]), PROCESS_S)
            grown = ("FIRING: storm, node n1", ["FIRING"])
            await until(lambda: shown(slack) == grown, PROCESS_S)  # the line in its thread follows the edit
            assert {one["fingerprint"] for one in firing} < {o["fingerprint"] for o in await alerts(port, "firing")}
            node.dead = False
            over = ("RESOLVED: storm, node n1", ["FIRING", "RESOLVED"])
            await until(lambda: shown(slack) == over, PROCESS_S)
            assert await alerts(port, "firing") == []
            ended = await alerts(port, "resolved")
            assert {one["labels"]["model"] for one in ended} == {f"n1-m{n}" for n in range(13)}
            (leg,) = await explain(port, firing[0]["fingerprint"])
            assert leg[0] == "over"
        assert len(slack.messages) == 3, "the message and two lines in its thread"
