"""A running control plane and its notifiers: real alerts, real receivers, the verb that tests a notifier."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.notifiers.test_every_kind import OVER_HTTP, QUERIES
from tests.contract.real_servers import ROOT, TOKEN, ControlPlane, alertmanager, control_plane
from tests.fakes.mail_server import mail_server
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.receivers import KEY, SECRET
from tests.fakes.slack import running
from tests.patience import HANG_S, PROCESS_S, wait_until

RULES = """
groups:
  - name: mine
    interval: 1s
    rules:
      - {alert: Always, expr: vector(1), labels: {severity: warning, team: gpu}, annotations: {summary: it fires}}
"""
FLEET = """
fleet: {name: test, external_url: http://console.example}
evaluation_interval: 1s
rules: [mine.yml]
notifiers:
  - NOTIFIER
route: {receiver: ops, group_by: [alertname], group_wait: 1s, group_interval: 1s}
"""


def notifiers_test(plane: ControlPlane, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controlplane", "notifiers", "test", name, "--url", plane.url]
    environment = {**os.environ, "CP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, check=False, env=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mine.yml").write_text(RULES)
    yield tmp_path


async def test_the_verb_tests_a_notifier_and_resolves_what_it_opened(folder: Path) -> None:
    receiver: Receiver
    async with receiving() as receiver:
        fleet = FLEET.replace("NOTIFIER", f'{{name: ops, type: webhook, url: "{receiver.url}/hook-0123456789"}}')
        with control_plane(folder, fleet.replace("mine.yml", "builtin:gpu")) as plane:
            done = await asyncio.to_thread(notifiers_test, plane, "ops")
            assert (done.returncode, done.stdout) == (0, "ops: delivered\n"), done.stderr
            ours = [got.json for got in receiver.taken if "ControlPlaneTest" in got.body.decode()]
            assert [body["status"] for body in ours] == ["firing", "resolved"]
            receiver.misbehave("403::forbidden at /hook-0123456789")
            failed = await asyncio.to_thread(notifiers_test, plane, "ops")
            assert failed.returncode != 0
            assert "127.0.0.1 answered 403" in failed.stderr and "check the credentials" in failed.stderr
            assert "hook-0123456789" not in failed.stderr + failed.stdout
            unknown = await asyncio.to_thread(notifiers_test, plane, "team x/slack[1]")
            assert "there is no notifier team x/slack[1]; fleet.yaml declares log, ops" in unknown.stderr


async def test_the_verb_tests_every_kind_of_a_running_control_plane(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("BOT", "xoxb-right")
    notifiers, arrived = list[str](), dict[str, Callable[[], int]]()
    async with AsyncExitStack() as stack:
        for kind, (reply, fields) in OVER_HTTP.items():
            receiver = await stack.enter_async_context(receiving(reply))
            place = f"RECEIVER_{kind.upper()}"
            monkeypatch.setenv(place, receiver.url + QUERIES.get(kind, f"/hook/{KEY}"))
            where = fields.replace("RECEIVER", place).replace("URL", receiver.url)
            notifiers.append(f"{{name: {kind}, type: {kind}, {where}}}")
            arrived[kind] = partial(len, receiver.taken)
        mail = await stack.enter_async_context(mail_server())
        server = f"host: 127.0.0.1, port: {mail.port}, security: none, from: a@b, to: [c@d]"
        notifiers.append(f"{{name: email, type: email, {server}}}")
        arrived["email"] = partial(len, mail.mails)
        program = f"command: [/bin/sh, -c, '{{ cat; echo; }} >> {folder}/program.log']"
        notifiers.append(f"{{name: command, type: command, {program}}}")
        arrived["command"] = lambda: len((folder / "program.log").read_text().splitlines())
        slack = await stack.enter_async_context(running())
        notifiers.append(f'{{name: slack, type: slack, channel: "#ops", token_env: BOT, base_url: "{slack.url}"}}')
        arrived["slack"] = lambda: len(slack.messages)
        fleet = FLEET.replace("NOTIFIER", "\n  - ".join(notifiers)).replace("receiver: ops", "receiver: log")
        with control_plane(folder, fleet) as plane:
            for kind, count in arrived.items():
                done = await asyncio.to_thread(notifiers_test, plane, kind)
                assert done.returncode == 0, done.stderr
                assert done.stdout.startswith(f"{kind}: delivered")
                assert count() >= 1, kind


@pytest.mark.needs("alertmanager")
def test_an_alert_reaches_alertmanager_and_stays_there(folder: Path) -> None:
    config = "route: {receiver: none}\nreceivers: [{name: none}]\nglobal: {resolve_timeout: 1s}\n"
    with alertmanager(folder, config) as url:
        fleet = FLEET.replace("NOTIFIER", f'{{name: ops, type: alertmanager, urls: ["{url}"]}}')
        with control_plane(folder, fleet):
            found: list[dict[str, Any]] = []

            def arrived() -> bool:
                found[:] = httpx.get(f"{url}/api/v2/alerts", timeout=HANG_S).json()
                return bool(found)

            wait_until(arrived, PROCESS_S)
        (one,) = found
        assert one["labels"] == {"alertname": "Always", "severity": "warning", "team": "gpu"}
        assert one["annotations"] == {"summary": "it fires"}
        # The control plane is gone now. Alertmanager has no reason to resolve its alert.
        assert [a["labels"] for a in httpx.get(f"{url}/api/v2/alerts", timeout=HANG_S).json()] == [one["labels"]]
