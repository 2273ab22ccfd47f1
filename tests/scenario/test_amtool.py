"""Debian's amtool reads alerts of a real control plane."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.needs("amtool")
FLEET = """\
fleet: {name: test}
evaluation_interval: 1s
rules: [rules.yml]
notifiers: [{name: file, type: log}]
route: {receiver: file, group_by: [model], group_wait: 20s}
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91), labels: {severity: critical, model: chat}, annotations: {summary: it is hot}}
      - {alert: Soon, expr: vector(1), for: 1h, labels: {severity: warning}}
"""


async def amtool(port: int, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "amtool",
        *words,
        f"--alertmanager.url=http://127.0.0.1:{port}",
        "--http.config.file=http.yml",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PROCESS_S)
    return process.returncode or 0, out.decode(), err.decode()


async def test_amtool_lists_filters_and_shows_the_routing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "http.yml").write_text(f"authorization: {{credentials: {TOKEN}}}\n")
    async with up(tmp_path, FLEET) as (_, port):
        found: list[dict[str, object]] = []
        async with asyncio.timeout(PROCESS_S):
            while not found:
                code, out, err = await amtool(port, "alert", "query", "-o", "json")
                assert code == 0, err
                found = json.loads(out)
        (hot,) = found
        assert hot["labels"] == {"alertname": "Hot", "model": "chat", "severity": "critical"}
        assert hot["annotations"] == {"summary": "it is hot"}
        assert hot["receivers"] == [{"name": "file"}]
        for matcher, alerts in (("severity=critical", 1), ("severity!=critical", 0), ('model=~"ch.+"', 1)):
            code, out, err = await amtool(port, "alert", "query", "-o", "json", matcher)
            assert (code, len(json.loads(out))) == (0, alerts), err
        code, out, err = await amtool(port, "config", "show")
        assert code == 0, err
        assert "receiver: file" in out
        assert "group_wait: 20s" in out
        code, out, err = await amtool(port, "silence", "query", "-o", "json")
        assert (code, json.loads(out)) == (0, []), err
        (tmp_path / "http.yml").write_text("authorization: {credentials: wrong}\n")
        code, out, err = await amtool(port, "alert", "query")
        assert code == 1
        assert "401" in out + err
