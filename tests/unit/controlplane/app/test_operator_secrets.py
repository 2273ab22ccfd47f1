"""Secrets and scrape classes of monitors, in a running Scraping: what is read, and that nothing of it is shown."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from collectors.target import Auth
from tests.fakes.kubernetes import ApiServer
from tests.fakes.monitors import pod_monitor
from tests.unit.controlplane.app.test_prometheus_operator import Write, becomes, entry, following, pod, targets


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def secret(**values: str) -> dict[str, Any]:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "llm"}, "data": data}


async def test_secrets_that_a_monitor_names_are_read_and_not_shown(
    fleet: Write, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = {"port": "http", "authorization": {"credentials": {"name": "keys", "key": "token"}}}
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod_monitor(podMetricsEndpoints=[endpoint]))
        api.put(secret(token="s3cret"))
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: [h.target.auth.inline for h in r.health() if h.target.auth], ["s3cret"])
            api.put(
                pod_monitor(
                    podMetricsEndpoints=[
                        {**endpoint, "authorization": {"credentials": {"name": "keys", "key": "none"}}}
                    ]
                )
            )
            at = "PodMonitor llm/test: podMetricsEndpoints[0].authorization.credentials"
            why = "Secret llm/keys has no key none; name one that it has"
            await becomes(running, lambda r: r.faults(), (f"{at}: {why}, so this endpoint is left out",))
            api.put(
                pod_monitor(
                    podMetricsEndpoints=[{**endpoint, "authorization": {"credentials": {"name": "gone", "key": "k"}}}]
                )
            )
            why = "Secret llm/gone cannot be read: namespace llm has no Secret gone"
            await becomes(running, lambda r: r.faults(), (f"{at}: {why}, so this endpoint is left out",))
        assert "s3cret" not in caplog.text


async def test_monitors_take_over_the_classes_of_fleet_yaml(fleet: Write) -> None:
    rules = "relabel_configs: [{target_label: by, replacement: a}]"
    more = f", scrape_classes: [{{name: a, tls: {{insecure_skip_verify: true}}, {rules}}}]"
    async with ApiServer(namespaces=("llm",)) as api:
        for each in (
            pod("a", "10.0.0.1"),
            secret(token="s3cret"),
            pod_monitor(scrapeClass="a", podMetricsEndpoints=[{"bearerTokenSecret": {"name": "keys", "key": "token"}}]),
        ):
            api.put(each)
        async with following(fleet(entry(api, more))) as running:
            await becomes(running, lambda r: [h.target.auth for h in r.health()],
                          [Auth(inline="s3cret", insecure_skip_verify=True)])  # fmt: skip
            assert [dict(h.target.labels)["by"] for h in running.health()] == ["a"]


@pytest.mark.parametrize("name", ["a/b", "..", "../../other/secrets/keys", "keys?x=1", "x%2f..%2fkeys", "k" * 254, "K"])
async def test_a_name_that_no_secret_has_is_not_asked_for_and_stops_no_other_monitor(fleet: Write, name: str) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        for each in (pod("a", "10.0.0.1"), secret(token="s3cret"), pod_monitor("good", podMetricsEndpoints=[{}])):
            api.put(each)
        api.put(pod_monitor("bad", podMetricsEndpoints=[{"bearerTokenSecret": {"name": name, "key": "token"}}]))
        async with following(fleet(entry(api))) as running:
            why = "its name is none that a Secret can have: small letters, digits, - and ."
            fault = f"PodMonitor llm/bad: podMetricsEndpoints[0].bearerTokenSecret: {why}, so this endpoint is left out"
            await becomes(running, lambda r: (targets(r), r.faults()), ([("llm/good", "10.0.0.1:8000", "a")], (fault,)))
        assert not [path for _, path, _ in api.requests if "secrets" in path]
