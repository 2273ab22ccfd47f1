"""All pods of a cluster that is watched at an API server which drops, repeats, mixes up, forgets and refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from controlplane.discovery.kubernetes import collection
from controlplane.discovery.kubernetes.collection import Collection
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Resource
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.kubernetes.errors import ApiError
from tests.patience import HANG_S
from tests.unit.controlplane.traffic.kubernetes.accounts import kubeconfig

PODS = Resource("", "v1", "pods", "Pods", "", "", "deploy/kubernetes/discovery.yaml")


class Watched:
    """A collection at the fake API server, and its pauses. A pause ends at once, unless `paused` is set."""

    def __init__(self, api: ApiServer, cluster: Cluster, query: dict[str, str] | None = None) -> None:
        self.api, self.pauses, self.go = api, [0.0], asyncio.Event()
        self.go.set()
        self._news = asyncio.Event()
        self.pods = Collection(cluster, PODS, query or {}, self._news.set, sleep=self._sleep, spread=lambda: 1.0)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_S):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def names(self, *wanted: str) -> None:
        """Wait until exactly these pods are known."""
        await self.until(lambda: sorted(self.pods.snapshot()) == [f"llm/{name}" for name in wanted])

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._news.set()
        await asyncio.sleep(0)
        await self.go.wait()


def put(api: ApiServer, *names: str, phase: str = "Running") -> None:
    for name in names:
        spec = {"containers": [{"name": "c", "image": "i"}]}
        metadata = {"name": name, "namespace": "llm"}
        api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}})


@contextlib.asynccontextmanager
async def watched(
    folder: Path, *names: str, rules: Iterable[Rule] | None = None, query: dict[str, str] | None = None
) -> AsyncIterator[tuple[ApiServer, Watched]]:
    async with ApiServer(namespaces=("llm",)) as api:
        put(api, *names)
        cluster = Cluster(kubeconfig(folder, {"token": api.token(rules)}, api.url), None)
        made = Watched(api, cluster, query)
        task = asyncio.create_task(made.pods.run())
        try:
            yield api, made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cluster.close()


def lists(api: ApiServer) -> int:
    return sum(verb == "list" for verb, _, _ in api.requests)


async def test_changes_follow_a_list_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "PAGE", 2)
    async with watched(tmp_path, "a", "b", "c", "d", "e") as (api, made):
        await made.names("a", "b", "c", "d", "e")
        assert lists(api) == 3
        put(api, "f")
        api.remove("v1", "Pod", "a", "llm")
        await made.names("b", "c", "d", "e", "f")
        put(api, "f", phase="Failed")
        await made.until(lambda: made.pods.snapshot()["llm/f"]["status"]["phase"] == "Failed")
        assert (lists(api), made.pods.fault) == (3, "")
        assert "managedFields" not in made.pods.snapshot()["llm/f"]["metadata"]


async def test_a_forgotten_history_is_listed_anew(tmp_path: Path) -> None:
    async with watched(tmp_path, "a", "z") as (api, made):
        await made.names("a", "z")
        before = made.pods.snapshot()
        api.remove("v1", "Pod", "a", "llm")
        put(api, "b")
        api.faults.expire_watches()
        await made.names("b", "z")
        put(api, "c")
        await made.names("b", "c", "z")
        assert lists(api) == 2
        assert made.pods.snapshot()["llm/z"] is before["llm/z"]
        assert made.pods.fault == ""


async def test_a_dropped_watch_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with watched(tmp_path, "a") as (api, made):
        await made.names("a")
        put(api, "z")
        await made.names("a", "z")  # so that the watch is open
        made.go.clear()
        api.cut()
        await made.until(lambda: len(made.pauses) > 1)
        put(api, "b")
        api.remove("v1", "Pod", "a", "llm")
        made.go.set()
        await made.names("b", "z")
        assert (lists(api), made.pods.fault) == (1, "")


async def test_repeated_and_late_events_change_nothing(tmp_path: Path) -> None:
    earlier: list[bytes] = []

    def repeat(line: bytes) -> Iterable[bytes]:
        earlier.append(line)
        return [*earlier, line]

    async with watched(tmp_path) as (api, made):
        api.faults.mangle = repeat
        await made.until(lambda: made.pods.version == 1)
        put(api, "a", "b")
        await made.names("a", "b")
        api.remove("v1", "Pod", "a", "llm")
        await made.names("b")
        version = made.pods.version
        put(api, "c")
        await made.names("b", "c")
        assert made.pods.version - version <= 2  # created, and its status: a is not back for a moment


async def test_half_a_line_loses_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path, "a") as (api, made):
        await made.names("a")
        api.faults.mangle = lambda line: (line[:30] + b"\n",)
        put(api, "b")
        await made.until(lambda: "no event of a watch" in made.pods.fault)
        assert sorted(made.pods.snapshot()) == ["llm/a"]
        api.faults.mangle = lambda line: (line,)
        await made.names("a", "b")
        await made.until(lambda: made.pods.fault == "")


async def test_the_last_good_objects_stay_while_the_server_is_away(tmp_path: Path) -> None:
    async with watched(tmp_path, "a") as (api, made):
        await made.names("a")
        await api.stop(kill=True)
        await made.until(lambda: "did not answer watch of Pods of the whole cluster" in made.pods.fault)
        await made.until(lambda: made.pauses[-1] == 30.0)
        assert sorted(made.pods.snapshot()) == ["llm/a"]
        await api.start()
        put(api, "b")
        await made.names("a", "b")
        await made.until(lambda: made.pods.fault == "")


@pytest.mark.parametrize(("verbs", "missing"), [([], "list"), (["list"], "watch")])
async def test_a_missing_right_is_named_with_its_cure(tmp_path: Path, verbs: list[str], missing: str) -> None:
    rules = [Rule(verbs, [""], ["pods"], cluster=True)] if verbs else []
    async with watched(tmp_path, "a", rules=rules) as (api, made):
        await made.until(lambda: made.pods.fault != "")
        cure = f"allow the verb {missing} on pods in a ClusterRole (deploy/kubernetes/discovery.yaml has the rules)"
        assert made.pods.fault.endswith(cure)
        if verbs:  # lists alone keep the objects fresh
            put(api, "b")
            await made.names("a", "b")


async def test_a_slow_list_is_no_empty_list(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        put(api, "a")
        api.faults.slow["list"] = asyncio.Event()
        cluster = Cluster(kubeconfig(tmp_path, {"token": api.token()}, api.url), None, timeout_s=0.2)
        made = Watched(api, cluster)
        task = asyncio.create_task(made.pods.run())
        await made.until(lambda: "within 0.2 s" in made.pods.fault)
        assert made.pods.version == 0
        api.faults.slow.pop("list").set()
        await made.names("a")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cluster.close()


async def test_too_many_objects_are_refused_and_the_good_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, "a", "b") as (api, made):
        await made.names("a", "b")
        monkeypatch.setattr(collection, "MAX_OBJECTS", 2)
        api.faults.expire_watches()
        put(api, "c")
        await made.until(lambda: "more than 2 objects; choose fewer by namespaces:" in made.pods.fault)


async def test_selectors_and_errors_reach_the_server(tmp_path: Path) -> None:
    async with watched(tmp_path, "a", "b", query={"fieldSelector": "metadata.name=b"}) as (api, made):
        await made.names("b")
        error = ApiError(500, "InternalError", "etcd is away")
        api.faults.fail("watch", "*/pods", error, times=3)
        api.cut()
        await made.until(lambda: "etcd is away" in made.pods.fault)
        await made.until(lambda: made.pods.fault == "")
        await made.names("b")
