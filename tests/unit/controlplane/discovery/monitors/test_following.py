"""What is told of the monitors of a cluster that changes, refuses, or is not there. The API server is on a socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.operator_sd import OperatorSd
from collectors.discovery.polling import Means
from collectors.target import Auth
from controlplane.discovery.monitors import following
from controlplane.discovery.monitors.following import operator_follower
from tests.fakes.heard import Heard
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.monitors import pod_monitor, service_monitor
from tests.patience import until
from tests.unit.controlplane.discovery.test_following import Quick

BOTH = ("servicemonitors", "podmonitors")


@asynccontextmanager
async def followed(sd: OperatorSd, in_pod: Path = Path("/none")) -> AsyncIterator[Heard]:
    heard = Quick()
    task = asyncio.ensure_future(operator_follower(sd, Means(sleep=heard.sleep), in_pod)(heard))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sd_at(api: ApiServer, kinds: tuple[str, ...] = BOTH, rules: Sequence[Rule] | None = None, **at: Any) -> OperatorSd:
    return OperatorSd(KubernetesSd(Role.POD, api_server=api.url, auth=Auth(inline=api.token(rules)), **at), kinds)


def names(heard: Heard) -> dict[str, list[str]]:
    return {
        kind: sorted(each["metadata"].get("namespace", "") + "/" + each["metadata"]["name"] for each in those)
        for kind, those in heard.objects.items()
    }


async def are(heard: Heard, **kinds: list[str]) -> None:
    await until(lambda: names(heard) == kinds)


async def test_monitors_of_the_named_namespaces_come_change_and_go() -> None:
    async with ApiServer(namespaces=("a", "b", "c")) as api:
        for namespace in "abc":
            api.put(service_monitor("s", namespace))
        async with followed(sd_at(api, (*BOTH, "namespaces"), namespaces=("a", "b"))) as heard:
            await are(heard, servicemonitors=["a/s", "b/s"], podmonitors=[], namespaces=["/a", "/b", "/c"])
            api.put(pod_monitor("p", "b"))
            api.remove("monitoring.coreos.com/v1", "ServiceMonitor", "s", "a")
            await are(heard, servicemonitors=["b/s"], podmonitors=["b/p"], namespaces=["/a", "/b", "/c"])


async def test_monitors_stay_while_the_server_is_away() -> None:
    async with ApiServer(namespaces=("a",)) as api:
        api.put(pod_monitor("p", "a"))
        async with followed(sd_at(api)) as heard:
            await are(heard, servicemonitors=[], podmonitors=["a/p"])
            await api.stop(kill=True)
            await until(lambda: heard.error)
            assert heard.error.startswith(f"prometheus_operator at {api.url}: the API server {api.url} did not answer")
            assert names(heard)["podmonitors"] == ["a/p"]
            await api.start()
            await until(lambda: not heard.error)


async def test_a_kind_that_may_not_be_read_does_not_hide_the_other() -> None:
    rules = [Rule(["list", "watch"], ["monitoring.coreos.com"], ["podmonitors"], namespace="a")]
    async with ApiServer(namespaces=("a",)) as api:
        api.put(pod_monitor("p", "a"))
        async with followed(sd_at(api, rules=rules, namespaces=("a",))) as heard:
            await are(heard, podmonitors=["a/p"])
            await until(lambda: heard.error)
            assert heard.error == (
                f"prometheus_operator of a at {api.url}: servicemonitors.monitoring.coreos.com is forbidden: User "
                '"driver" cannot list resource "servicemonitors" in API group "monitoring.coreos.com" in the namespace '
                '"a"; allow the verb list on servicemonitors.monitoring.coreos.com in namespace a '
                "(deploy/kubernetes/discovery.yaml has the rules)"
            )


async def test_an_own_namespace_that_is_not_there_is_told_until_it_is(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("mine",)) as api:
        api.put(pod_monitor("p", "mine"))
        sd = OperatorSd(KubernetesSd(Role.POD, own_namespace=True, api_server=api.url), ("podmonitors",))
        async with followed(sd, tmp_path) as heard:
            await until(lambda: heard.error)
            assert heard.error.startswith(f"prometheus_operator of its own namespace at {api.url}: cannot read")
            (tmp_path / "namespace").write_text("mine\n")
            await until(lambda: "podmonitors is forbidden" in heard.error.replace(".monitoring.coreos.com", ""))


async def test_a_changed_secret_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SECRETS_S", 0.05)
    endpoint = {"basicAuth": {name: {"name": "keys", "key": name} for name in ("username", "password")}}

    def put(api: ApiServer, password: str) -> None:
        data = {"password": base64.b64encode(password.encode()).decode(), "username": "dQ=="}
        metadata = {"name": "keys", "namespace": "a"}
        api.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def password(heard: Heard) -> str:
        (found,) = heard.objects.get("secrets", ({},))
        return base64.b64decode((found.get("data") or {}).get("password", "")).decode()

    async with ApiServer(namespaces=("a",)) as api:
        api.put(pod_monitor("p", "a", podMetricsEndpoints=[endpoint, endpoint]))
        async with followed(sd_at(api)) as heard:
            await until(lambda: "fault" in (heard.objects.get("secrets") or ({},))[0])
            put(api, "one")
            await until(lambda: password(heard) == "one")
            put(api, "two")
            await until(lambda: password(heard) == "two")
        assert {path for _, path, _ in api.requests if "secrets" in path} == {"/api/v1/namespaces/a/secrets/keys"}
