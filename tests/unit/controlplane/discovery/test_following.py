"""What a kubernetes_sd tells of a cluster that changes, refuses, or is not there. The API server is on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.kubernetes_roles import Role, Selector
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.polling import Means
from collectors.target import Auth
from controlplane.discovery.kubernetes import reaching
from controlplane.discovery.kubernetes.following import PAUSE_S, SHARE, kubernetes_follower
from controlplane.discovery.kubernetes.reaching import NAMESPACE_S
from tests.fakes.heard import Heard, heard_of
from tests.fakes.kubernetes import ApiServer, Rule
from tests.patience import until

CURE = "(deploy/kubernetes/discovery.yaml has the rules)"


class Quick(Heard):
    """Its pauses end at once."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def followed(sd: KubernetesSd, in_pod: Path = Path("/none")) -> AsyncIterator[Quick]:
    """Follow a source until the block ends."""
    heard = Quick()
    means = Means(sleep=heard.sleep)
    task = asyncio.ensure_future(kubernetes_follower(sd, means, in_pod)(heard))
    try:
        yield heard
    finally:
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)


def pod(name: str, ip: str, namespace: str = "llm", node: str = "", **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 8000}]}]}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec | ({"nodeName": node} if node else {}), "status": {"phase": "Running", "podIP": ip},
    }  # fmt: skip


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": {}}


def sd_at(api: ApiServer, rules: Sequence[Rule] | None = None, role: Role = Role.POD, **fields: Any) -> KubernetesSd:
    return KubernetesSd(role, api_server=api.url, auth=Auth(inline=api.token(rules)), **fields)


def listed(api: ApiServer, plural: str) -> int:
    """Return how often the objects of a kind were listed."""
    return sum(verb == "list" and path.endswith(f"/{plural}") for verb, path, _ in api.requests)


def may_read(*plurals: str, namespace: str = "") -> Rule:
    return Rule(["list", "watch"], [""], plurals, namespace=namespace, cluster=not namespace)


async def are(heard: Heard, *addresses: str) -> None:
    """Wait until exactly these addresses are told."""
    await until(lambda: sorted(heard.addresses) == sorted(addresses))


async def test_a_burst_of_changes_is_one_list_in_a_pause() -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("first", "10.0.0.1"))
        sd = sd_at(api)
        async with heard_of(lambda means: kubernetes_follower(sd, means)) as heard:
            assert heard.addresses == ["10.0.0.1:8000"]
            for number in range(50):
                api.put(pod(f"p{number}", f"10.0.1.{number}"))
            pauses = 0
            while len(heard.addresses) < 51:
                await heard.again()
                pauses += 1
            assert len(heard.lists) == 1 + pauses
            assert heard.slept == [PAUSE_S] * (1 + pauses)
        assert listed(api, "pods") == 1


async def test_the_pause_is_longer_where_a_list_takes_long() -> None:
    async def slowly(work: Callable[..., Any], *arguments: Any) -> Any:
        await asyncio.sleep(PAUSE_S / 2)
        return work(*arguments)

    async with ApiServer(namespaces=("llm",)) as api:
        sd = sd_at(api)
        async with heard_of(lambda means: kubernetes_follower(sd, replace(means, in_thread=slowly))) as heard:
            assert heard.slept[0] >= SHARE * PAUSE_S / 2


async def test_a_change_that_is_in_no_label_is_the_same_list() -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        async with followed(sd_at(api)) as heard:
            await are(heard, "10.0.0.1:8000")
            api.put(pod("a", "10.0.0.1") | {"status": {"phase": "Running", "podIP": "10.0.0.1", "message": "hello"}})
            await until(lambda: len(heard.lists) > 1)
            assert heard.lists[-1] is heard.lists[0]
            api.put(pod("a", "10.0.0.2"))
            await are(heard, "10.0.0.2:8000")


async def test_an_unknown_token_is_told() -> None:
    async with ApiServer() as api:
        sd = KubernetesSd(Role.POD, api_server=api.url, auth=Auth(inline="secret"))
        async with followed(sd) as heard:
            await until(lambda: heard.error)
            assert heard.error == (
                f"kubernetes_sd role pod at {api.url}: the API server does not know this account (401) at list of Pods "
                "of the whole cluster; is its token valid?"
            )
            assert heard.lists == []


@pytest.mark.parametrize(
    ("namespaces", "in_words", "cure"),
    [
        ((), "at the cluster scope", "in a ClusterRole"),
        (("llm",), 'in the namespace "llm"', "in namespace llm"),
    ],
)
async def test_a_missing_right_is_told_with_its_cure(namespaces: tuple[str, ...], in_words: str, cure: str) -> None:
    async with ApiServer(namespaces=("llm",)) as api, followed(sd_at(api, [], namespaces=namespaces)) as heard:
        await until(lambda: heard.error)
        place = f"kubernetes_sd role pod{' of llm' if namespaces else ''} at {api.url}"
        assert heard.error == (
            f'{place}: pods is forbidden: User "driver" cannot list resource "pods" in API group "" {in_words}; '
            f"allow the verb list on pods {cure} {CURE}"
        )


async def test_the_list_stays_while_the_server_is_away_and_its_return_ends_the_fault() -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        async with followed(sd_at(api)) as heard:
            await are(heard, "10.0.0.1:8000")
            await api.stop(kill=True)
            await until(lambda: heard.error)
            gone = f"the API server {api.url} did not answer watch of Pods of the whole cluster: "
            assert heard.error.startswith(f"kubernetes_sd role pod at {api.url}: {gone}")
            assert heard.addresses == ["10.0.0.1:8000"]
            await api.start()
            api.put(pod("b", "10.0.0.2"))
            await are(heard, "10.0.0.1:8000", "10.0.0.2:8000")
            await until(lambda: not heard.error)


async def test_a_server_that_hangs_at_the_first_question_is_told_after_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reaching, "CALL_S", 0.2)
    async with ApiServer() as api:
        api.faults.slow["list"] = asyncio.Event()
        sd = sd_at(api)
        async with heard_of(lambda means: kubernetes_follower(sd, means)) as heard:
            await until(lambda: heard.error)
            assert heard.error == (
                f"kubernetes_sd role pod at {api.url}: the API server {api.url} did not answer list of Pods of the "
                "whole cluster within 0.2 s"
            )
            assert listed(api, "pods") == 1


async def test_one_namespace_is_refused_while_another_is_listed() -> None:
    async with ApiServer(namespaces=("llm", "other")) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod("b", "10.0.0.2", "other"))
        rules = [may_read("pods", namespace="llm")]
        sd = sd_at(api, rules, namespaces=("llm", "other"))
        async with followed(sd) as heard:
            await are(heard, "10.0.0.1:8000")
            await until(lambda: heard.error.endswith(f"allow the verb list on pods in namespace other {CURE}"))
            api.put(pod("c", "10.0.0.3"))
            await are(heard, "10.0.0.1:8000", "10.0.0.3:8000")
            assert "namespace other" in heard.error
            api.access.rules["driver"].append(may_read("pods", namespace="other"))
            await are(heard, "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")
            await until(lambda: not heard.error)
            api.access.rules["driver"].pop()
            api.store.expire()  # so that both are listed anew
            await until(lambda: heard.error.endswith(f"allow the verb list on pods in namespace other {CURE}"))
            api.put(pod("d", "10.0.0.4"))
            await are(heard, "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000", "10.0.0.4:8000")
            assert "namespace llm" not in heard.error


async def test_a_namespace_appears_when_all_its_kinds_are_listed() -> None:
    """Addresses without the labels of their pods would be other targets for a moment."""
    async with ApiServer(namespaces=("llm",)) as api:
        rules = [may_read("endpoints", "services")]
        async with followed(sd_at(api, rules, Role.ENDPOINTS)) as heard:
            await until(lambda: heard.error)
            assert (heard.lists, "allow the verb list on pods in a ClusterRole" in heard.error) == ([], True)


async def test_three_faults_are_told_and_the_others_counted() -> None:
    names = ("a", "b", "c", "d", "e")
    async with ApiServer(namespaces=names) as api, followed(sd_at(api, [], namespaces=names)) as heard:
        await until(lambda: heard.error.endswith("; and 2 more"))
        assert heard.error.count("is forbidden") == 3


async def test_the_own_namespace_is_read_from_the_pod(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm", "other", "third")) as api:
        for number, namespace in enumerate(("llm", "other", "third")):
            api.put(pod("a", f"10.0.0.{number}", namespace))
        sd = sd_at(api, namespaces=("other", "llm"), own_namespace=True)
        (tmp_path / "namespace").write_text("llm\n")
        async with followed(sd, tmp_path) as heard:
            await are(heard, "10.0.0.0:8000", "10.0.0.1:8000")
        assert listed(api, "namespaces/llm/pods") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read {file} (FileNotFoundError); own_namespace needs a pod with an account; elsewhere write "
               "names: [NAMESPACE]"),
        (b"\xff", "cannot read {file} (UnicodeDecodeError); own_namespace needs a pod with an account; elsewhere write "
                  "names: [NAMESPACE]"),
        (b"\n", "{file} is empty; write names: [NAMESPACE]"),
    ],
)  # fmt: skip
async def test_an_own_namespace_that_is_not_there_is_told_and_read_again(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "namespace"
    if content is not None:
        file.write_bytes(content)
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        sd = sd_at(api, own_namespace=True)
        async with heard_of(lambda means: kubernetes_follower(sd, means, tmp_path)) as heard:
            assert heard.error == f"{sd.place}: {told.format(file=file)}"
            assert heard.slept == [NAMESPACE_S]
            file.write_text("llm")
            await heard.again()
            assert (heard.addresses, heard.error) == (["10.0.0.1:8000"], "")


async def test_each_kind_has_its_selector() -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1", app="vllm"))
        api.put(pod("b", "10.0.0.2", app="vllm"))
        api.put(pod("c", "10.0.0.3", app="web"))
        selectors = (Selector(Role.POD, "app in (vllm)", "metadata.name!=b"),)
        async with followed(sd_at(api, selectors=selectors)) as heard:
            await are(heard, "10.0.0.1:8000")
            api.put(pod("c", "10.0.0.3", app="vllm"))
            await are(heard, "10.0.0.1:8000", "10.0.0.3:8000")
            api.put(pod("a", "10.0.0.1", app="web"))
            await are(heard, "10.0.0.3:8000")


async def test_pods_have_the_labels_of_their_nodes() -> None:
    name = "__meta_kubernetes_node_label_zone"
    async with ApiServer(namespaces=("llm", "other")) as api:
        api.put(node("n1", zone="a"))
        api.put(pod("a", "10.0.0.1", node="n1"))
        api.put(pod("b", "10.0.0.2", "other", node="n2"))
        async with followed(sd_at(api, namespaces=("llm", "other"), with_nodes=True)) as heard:
            await are(heard, "10.0.0.1:8000", "10.0.0.2:8000")
            assert [entry.labels.get(name) for entry in heard.lists[-1]] == ["a", None]
            api.put(node("n2", zone="b"))
            await until(lambda: [entry.labels.get(name) for entry in heard.lists[-1]] == ["a", "b"])
            api.put(node("n1", zone="c"))
            await until(lambda: [entry.labels.get(name) for entry in heard.lists[-1]] == ["c", "b"])
        assert listed(api, "nodes") == 1


async def test_nodes_are_one_list_for_all_namespaces() -> None:
    async with ApiServer(namespaces=("llm", "other")) as api:
        api.put(node("n1") | {"status": {"addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}})
        async with followed(sd_at(api, role=Role.NODE, namespaces=("llm", "other"))) as heard:
            await until(lambda: heard.lists)
            assert heard.addresses == ["10.1.0.1:0"]
        assert listed(api, "nodes") == 1


async def test_a_kubeconfig_that_is_missing_or_broken_is_told_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    sd = KubernetesSd(Role.POD, kubeconfig=str(file))
    begin = f"kubernetes_sd role pod at {file}: {file} gives no account of a cluster: "
    async with followed(sd) as heard:
        await until(lambda: heard.error)
        assert heard.error == f"{begin}there is no such file; name one under kubeconfig:, or set KUBECONFIG"
    file.write_text("users: [\n  - {name: u, token: secret")
    async with followed(sd) as heard:
        await until(lambda: heard.error)
        assert heard.error == f"{begin}it is no YAML (line 2); write it as `kubectl config view --raw` shows it"
