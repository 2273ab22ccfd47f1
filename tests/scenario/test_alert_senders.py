"""Debian's Prometheus and amtool send alerts to a real control plane, each with a token that may do nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.real_servers import prometheus
from tests.patience import HANG_S, PROCESS_S
from tests.scenario.test_amtool import amtool
from tests.scenario.up import TOKEN, up

FLEET = """\
fleet: {name: test}
evaluation_interval: 1s
rules: ["own/*.yml"]
notifiers: [{name: file, type: log}]
route: {receiver: file, group_by: [alertname], group_wait: 0s, group_interval: 1s}
"""
PROMETHEUS = """\
global: {evaluation_interval: 1s, external_labels: {cluster: far}}
rule_files: [FOLDER/rules-*.yml]
alerting:
  alertmanagers:
    - authorization: {credentials: SECRET}
      api_version: v2
      static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91) > 85, labels: {severity: critical}, annotations: {summary: it is hot}}
"""
Answer = list[dict[str, Any]]


async def ask(port: int, path: str, token: str = TOKEN, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=HANG_S) as client:
        answer = await (client.post(path, json=body) if body else client.get(path))
        answer.raise_for_status()
        return answer.json()


async def until(port: int, path: str, found: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(PROCESS_S):
        while not found(answer := await ask(port, path)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)
    return answer


async def sender_token(port: int) -> str:
    made = await ask(port, "/cp/v1/tokens", name="far-prometheus", role="alert-sender")
    return str(made["token"])


@pytest.mark.needs("prometheus")
async def test_prometheus_sends_and_its_alerts_are_like_own_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with up(tmp_path, FLEET) as (pid, port):
        token = await sender_token(port)
        (tmp_path / "far").mkdir()
        (tmp_path / "far/rules-1.yml").write_text(RULES)
        config = PROMETHEUS.replace("SECRET", token).replace("PORT", str(port)).replace("FOLDER", f"{tmp_path}/far")
        # An alert is over when it has not come again for four times the delay.
        with prometheus(tmp_path / "far", config, "--rules.alert.resend-delay=10s", "--web.enable-lifecycle") as url:
            (alert,) = await until(port, "/api/v2/alerts", bool)
            assert alert["labels"] == {"alertname": "Hot", "severity": "critical", "cluster": "far"}
            assert alert["annotations"] == {"summary": "it is hot"}
            assert "/graph?g0.expr=vector%2891%29" in alert["generatorURL"]
            async with httpx.AsyncClient(timeout=HANG_S) as client:
                (theirs,) = (await client.get(f"{url}/api/v1/alerts")).json()["data"]["alerts"]
                (ours,) = (await ask(port, "/api/v1/alerts"))["data"]["alerts"]
                assert ours["activeAt"][:19] == theirs["activeAt"][:19], "for: 0 fires when it becomes active"
                (listed,) = (await ask(port, "/cp/v1/alerts"))["items"]
                detail = await ask(port, f"/cp/v1/alerts/{listed['fingerprint']}")
                assert [event["sentence"] for event in detail["history"]] == [
                    "Hot went from inactive to firing: it is hot, says far-prometheus"
                ]
                # Its rule is removed: Prometheus sends the end.
                (tmp_path / "far/rules-1.yml").write_text(RULES.replace("> 85", "> 95"))
                (await client.post(f"{url}/-/reload")).raise_for_status()
            await until(port, "/api/v2/alerts", lambda found: not found)
            history = (await ask(port, "/cp/v1/alerts?state=resolved"))["items"]
            assert [one["labels"]["alertname"] for one in history] == ["Hot"]
        assert pid


@pytest.mark.needs("amtool")
async def test_amtool_adds_alerts_that_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with up(tmp_path, FLEET) as (pid, port):
        token = await sender_token(port)
        (tmp_path / "http.yml").write_text(f"authorization: {{credentials: {token}}}\n")
        add = ("alert", "add", "alertname=Full", "node=n1", "--annotation=summary=the disk is full")
        code, out, err = await amtool(port, *add)
        assert code == 0, out + err
        os.kill(pid, signal.SIGKILL)
    async with up(tmp_path, FLEET) as (_, port):
        (alert,) = await until(port, "/api/v2/alerts", bool)
        assert alert["labels"] == {"alertname": "Full", "node": "n1"}
        code, out, err = await amtool(port, "alert", "query")
        assert code == 1, "a sender's token reads nothing"
        (tmp_path / "http.yml").write_text(f"authorization: {{credentials: {TOKEN}}}\n")
        code, out, err = await amtool(port, "alert", "query", "-o", "json", "node=n1")
        assert code == 0, err
        assert [one["annotations"] for one in json.loads(out)] == [{"summary": "the disk is full"}]
        code, out, err = await amtool(port, *add, "--start=2026-01-01T00:00:00Z", "--end=2026-01-01T01:00:00Z")
        assert code == 0, out + err
        await until(port, "/api/v2/alerts", lambda found: not found)
        code, out, err = await amtool(port, *add, "--start=2026-01-01T02:00:00Z", "--end=2026-01-01T01:00:00Z")
        assert code == 1
        assert "start time must be before end time" in out + err
