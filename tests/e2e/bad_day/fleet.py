"""The fleet.yaml and the rules of the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.bad_day.places import Server, Size
from tests.e2e.bad_day.story import Story, stories

DOWN = ("127.70.0.1", "127.70.0.2", "127.70.0.3")
"""Addresses at which nothing listens."""
STEPS = {
    "chat": ["10%", "analyse 3h", "50%", "analyse 1h"],
    "code": ["20%", "analyse 1h", "50%", "analyse 1h"],
    "translate": ["25%", "pause", "50%", "analyse 30m"],
}
"""The steps of each canary."""
RULES = """\
groups:
  - name: capacity
    rules:
      - alert: KVCacheBusy
        expr: max by (model, version, instance) (llm_kv_cache_usage_ratio) > 0.85
        labels: {severity: warning, team: serving}
        annotations: {summary: "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its KV cache"}
      - alert: GPUPowerHigh
        expr: max by (node) (gpu_power_watts) > 120
        for: 26h
        labels: {severity: info, team: platform}
        annotations: {summary: "A GPU of {{ $labels.node }} draws {{ $value | humanize }} W"}
      - alert: RequestsPerSecondHigh
        expr: sum by (model) (rate(llm_requests_total{source="engine"}[5m])) > 45
        labels: {severity: info, team: serving}
        annotations: {summary: "{{ $labels.model }} gets {{ $value | humanize }} requests per second"}
      - alert: ChatSlowForUsers
        expr: |
          histogram_quantile(0.9, sum by (model, le) (
            rate(llm_request_duration_seconds_bucket{source="gateway", model="chat"}[5m])
          )) > 2.5
        for: 5m
        labels: {severity: critical, team: serving}
        annotations: {summary: "Nine of ten requests to {{ $labels.model }} take up to {{ $value | humanizeDuration }}"}
"""


def fleet_yaml(
    size: Size, servers: Sequence[Server], port: int, tritons: Mapping[str, Sequence[str]], folder: Path
) -> str:
    """Return the text. `tritons` has the URLs of the fake Tritons of each model, for their APIs."""
    told = stories(size.models)
    content: dict[str, Any] = {
        "fleet": {"name": "prod-eu"},
        "scrape": {"interval": "15s", "timeout": "5s"}
        if size.targets <= 100
        else {"interval": "60s", "timeout": "10s"},
        "evaluation_interval": "30s",
        "targets": list(_targets(servers, port)),
        "rules": ["builtin:llm", "builtin:gpu", "builtin:backups", "rules.yml"],
        **_notifications(port),
        "models": [_model(story, servers, port, tritons) for story in told],
        "gateway": {"control_plane": {"url": "http://127.0.0.1:1", "authorization": {"credentials_file": "token"}}},
        "cost": {
            "gpu_hour_usd": 2.9,
            "budgets": [
                {"model": "chat", "monthly_usd": 15000},
                {"model": "code", "monthly_usd": 9000},
                {"model": "summarise", "monthly_usd": 5000},
            ],
        },
        "metrics": {"retention": "26h"},
        "backup": _backup(folder),
    }
    return yaml.safe_dump(content, sort_keys=False, width=140)


def _targets(servers: Sequence[Server], port: int) -> Iterator[dict[str, Any]]:
    for server in servers:
        address = f"{server.host}:{port}"
        if server.kind == "dcgm":
            yield {"engine": "dcgm", "addresses": [address], "labels": {"node": server.node}}
        elif server.kind == "gateway":
            yield {"engine": "gateway", "addresses": [address], "labels": {"gateway": server.name}}
        elif server.kind in ("html", "blind"):
            yield {"engine": "vllm", "addresses": [address], "labels": {"model": "rerank", "version": "v4"}}
    for version in ("v3", "v4"):
        more = [f"{s.host}:{port}" for s in servers if s.extra and s.version == version]
        if more:
            yield {"engine": "vllm", "addresses": more, "labels": {"model": "rerank", "version": version}}
    down = [f"{host}:{port}" for host in DOWN]
    yield {"engine": "vllm", "addresses": down[:2], "labels": {"model": "rerank", "version": "v4"}}
    yield {"engine": "dcgm", "addresses": down[2:], "labels": {"node": "gpu-00"}}


def _model(story: Story, servers: Sequence[Server], port: int, tritons: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    mine = [server for server in servers if server.model == story.name and not server.extra]
    found: dict[str, Any] = {"name": story.name, "stable": story.stable}
    if story.driver == "triton":
        backends = [
            {"url": url, "metrics": f"http://{server.host}:{port}/metrics", "labels": {"node": server.node}}
            for url, server in zip(tritons[story.name], mine, strict=True)
        ]
        found["traffic"] = {"driver": "triton", "model": "model", "backends": backends}
        found["versions"] = {version: {} for version in story.versions}
        return found
    found["traffic"] = {"driver": story.driver}
    found["versions"] = {
        version: {
            "backends": [
                {"url": f"http://{s.host}:{port}", "engine": s.kind, "gpus": 2, "labels": {"node": s.node}}
                for s in mine
                if s.version == version
            ]
        }
        for version in story.versions
    }
    if story.driver == "gateway":
        found["rollout"] = {
            "strategy": "canary",
            "steps": STEPS[story.name],
            "analysis": {"interval": "60s", "minimum_requests": 200},
            "deadline": "12h",
            "rollback_window": "30m",
        }
        found["slos"] = [
            {"name": "answers", "objective": 99.5, "window": "1d", "availability": {}},
            {"name": "first-token", "objective": 95, "window": "1d", "latency": {"metric": "ttft", "below": "1s"}},
        ]
        found["gateway"] = {"price": {"input_usd": 0.4, "output_usd": 1.6}}
    return found


def _notifications(port: int) -> dict[str, Any]:
    hook = f"http://127.50.0.1:{port}/hook"
    return {
        "notifiers": [
            {"name": "ops", "type": "webhook", "url": f"{hook}/200"},
            {"name": "pager", "type": "webhook", "url": f"{hook}/503"},
            {"name": "platform", "type": "webhook", "url": f"{hook}/404"},
        ],
        "route": {
            "receiver": "ops",
            "group_by": ["alertname", "model"],
            "group_wait": "1s",
            "group_interval": "30s",
            "repeat_interval": "4h",
            "routes": [
                {"matchers": ['severity="critical"'], "receiver": "pager", "continue": True},
                {"matchers": ['team="platform"'], "receiver": "platform"},
                {"matchers": ['alertname=~"GPU.*"'], "receiver": "platform", "continue": True},
            ],
        },
    }


def _backup(folder: Path) -> dict[str, Any]:
    return {
        "repository": str(folder / "repository"),
        "key_file": str(folder / "backup.key"),
        "jobs": [
            {"name": "weights", "folder": str(folder / "models"), "schedule": "0 2 1 1 *", "keep": {"daily": 7}},
            {"name": "adapters", "folder": str(folder / "adapters"), "schedule": "0 2 1 1 *"},
            {"name": "datasets", "folder": str(folder / "datasets"), "schedule": "0 2 1 1 *", "max_age": "12h"},
            {"name": "plane", "control_plane": True, "schedule": "0 2 1 1 *", "max_age": "3h"},
        ],
        "verify": {"schedule": "0 5 1 1 *"},
    }
