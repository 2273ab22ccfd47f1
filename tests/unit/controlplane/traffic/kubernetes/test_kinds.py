"""Groups, selectors and canaries through the whole driver on the strict API server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.proxy import Kubernetes
from controlplane.traffic.proxies.routing import InstanceSeen
from tests.fakes.kubernetes import ApiServer
from tests.fakes.kubernetes.errors import ApiError
from tests.patience import HANG_S
from tests.unit.controlplane.traffic.kubernetes.driven import (
    CANARY,
    GROUP,
    SELECTOR,
    canary,
    driven,
    endpoints,
    member,
    selecting,
    stored,
    verbs,
)

Json = dict[str, Any]
TENTH = {"v1": 0.9, "v2": 0.1}


async def until_pending(driver: Kubernetes, words: str) -> InstanceSeen:
    """Look until the driver has seen what the controllers wrote."""
    async with asyncio.timeout(HANG_S):
        while True:
            (seen,) = await driver.look()
            if seen.pending == words:
                return seen


def held(api: ApiServer) -> list[int]:
    """Return the weights of the members."""
    found = [stored(api, "LLMInferenceService", f"chat-{version}") for version in ("v1", "v2")]
    return [one["spec"]["router"]["route"]["weight"] for one in found]


def history(api: ApiServer) -> list[list[int]]:
    """Return the weights of both members after each write of one of them."""
    now = {"chat-v1": 0, "chat-v2": 0}
    found = []
    for event in api.store.events:
        if event.key.plural == "llminferenceservices":
            now[event.key.name] = event.object["spec"]["router"]["route"]["weight"]
            found.append(list(now.values()))
    return found[1:]  # the first member was put alone


async def test_group_raises_before_it_lowers(tmp_path: Path) -> None:
    async with driven(tmp_path, GROUP, member("v1", 100), member("v2", 0)) as (api, driver):
        await driver.apply(TENTH)
        await driver.apply({"v2": 1.0})
        await driver.apply({"v1": 1.0})
        assert history(api) == [[100, 0], [100, 10], [90, 10], [90, 100], [0, 100], [100, 100], [100, 0]]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("name", ["chat-v1", "chat-v2"])
async def test_group_whose_write_is_lost_is_mended_by_the_next_order(name: str, done: bool, tmp_path: Path) -> None:
    async with driven(tmp_path, GROUP, member("v1", 100), member("v2", 0)) as (api, driver):
        api.faults.hang("patch", f"*/llminferenceservices/{name}", done=done)
        with pytest.raises(Unavailable):
            await driver.apply({"v2": 1.0})
        await driver.apply({"v2": 1.0})
        assert held(api) == [0, 100]
        assert min(map(sum, history(api))) > 0
        await driver.apply({"v2": 1.0})
        assert len(verbs(api, "patch")) == (2 if done else 3)


async def test_group_with_a_member_that_another_writer_changes_in_between(tmp_path: Path) -> None:
    async with driven(tmp_path, GROUP, member("v1", 100), member("v2", 0)) as (api, driver):

        def change(found: Json) -> None:
            found["spec"]["router"]["route"]["weight"] = 7
            found["spec"]["replicas"] = 3

        api.between("get", "patch", "*/llminferenceservices/chat-v1", change)
        await driver.apply(TENTH)
        assert held(api) == [90, 10]
        assert stored(api, "LLMInferenceService", "chat-v1")["spec"]["replicas"] == 3
        assert min(map(sum, history(api))) > 0


async def test_group_with_a_member_missing_takes_every_order_that_needs_it_not(tmp_path: Path) -> None:
    async with driven(tmp_path, GROUP, member("v1", 10)) as (api, driver):
        assert (await driver.look())[0].weights == {"v1": 1.0}
        assert (await driver.check("v2")).reasons[0] == (
            "LLMInferenceService llm/chat-v2 does not exist; create it with weight: 0"
        )
        with pytest.raises(EngineRefused, match="llm/chat-v2 does not exist, so it cannot get requests"):
            await driver.apply(TENTH)
        assert verbs(api, "patch") == ["/chat-v1"] or len(verbs(api, "patch")) == 1  # the dry run of the check
        await driver.apply({"v1": 1.0})


V1, V2 = endpoints("chat-v1", "10.0.0.1"), endpoints("chat-v2", "10.0.0.2")


async def test_selector_holds_when_the_endpoints_follow_it(tmp_path: Path) -> None:
    chat = endpoints("chat", "10.0.0.1")
    async with driven(tmp_path, SELECTOR, selecting("v1"), chat, V1, V2) as (api, driver):
        assert (await driver.look())[0].pending == ""
        await driver.apply({"v2": 1.0})
        assert stored(api, "Service")["spec"]["selector"] == {"app": "chat", "version": "v2"}
        (seen,) = await driver.look()
        assert (seen.weights, seen.pending) == (
            {"v2": 1.0},
            "Service llm/chat still sends requests to 10.0.0.1:1, which is no pod of v2",
        )
        api.put(endpoints("chat", "10.0.0.1", "10.0.0.2"))
        assert (await driver.look())[0].pending == (
            "Service llm/chat still sends requests to 10.0.0.1:1, which is no pod of v2"
        )
        api.put(endpoints("chat", "10.0.0.2", ready=False))
        assert (await driver.look())[0].pending == "Service llm/chat has no ready endpoints"
        api.put(endpoints("chat", "10.0.0.2"))
        assert (await driver.look())[0].pending == ""


async def test_selector_of_a_version_whose_service_has_no_pods(tmp_path: Path) -> None:
    none = endpoints("chat-v2")
    async with driven(tmp_path, SELECTOR, selecting("v2"), endpoints("chat", "10.0.0.1"), V1, none) as (api, driver):
        assert (await driver.look())[0].pending == (
            "Service llm/chat still sends requests to 10.0.0.1:1, which is no pod of v2"
        )
        api.put(endpoints("chat", "10.0.0.2"))  # of no version that is known, so perhaps of v2
        assert (await driver.look())[0].pending == ""


async def test_selector_takes_no_share(tmp_path: Path) -> None:
    async with driven(tmp_path, SELECTOR, selecting("v1")) as (api, driver):
        assert not driver.capabilities.weights
        with pytest.raises(EngineRefused, match="requests to a Service cannot be split by weight"):
            await driver.apply(TENTH)
        assert verbs(api, "patch") == []


async def test_selector_without_labels_is_a_fault(tmp_path: Path) -> None:
    chat = selecting("v1")
    del chat["spec"]["selector"]
    async with driven(tmp_path, SELECTOR, chat) as (_, driver):
        words = "Service llm/chat has no selector, so somebody else writes its endpoints"
        assert (await driver.look())[0].fault == words
        assert (await driver.check("v2")).reasons == (words,)
        with pytest.raises(EngineRefused, match=words):
            await driver.apply({"v2": 1.0})


def percent(api: ApiServer) -> object:
    return stored(api, "InferenceService")["spec"]["predictor"].get("canaryTrafficPercent")


async def test_canary_is_ordered_before_kserve_has_told_of_it(tmp_path: Path) -> None:
    async with driven(tmp_path, CANARY, canary("s3://v1", None)) as (api, driver):
        assert (await driver.look())[0].weights == {"v1": 1.0}
        assert (await driver.check("v2")).reasons[:1] == (
            "InferenceService llm/chat has only v1: KServe keeps the revision before only under a canary. Apply the "
            "other version's model with canaryTrafficPercent: 0, then promote it",
        )
        api.put(canary("s3://v2", 0))
        api.cluster.step()
        assert (await until_pending(driver, "")).weights == {"v1": 1.0}
        await driver.apply(TENTH)  # KServe stands still, and the order is written all the same
        assert percent(api) == 10
        (seen,) = await driver.look()
        assert (seen.weights, seen.pending) == (
            TENTH,
            "KServe has not seen the last change of InferenceService llm/chat",
        )
        await driver.apply({"v1": 1.0})  # its status shows this share, which the spec has no more
        assert percent(api) == 0
        await driver.apply(TENTH)
        api.cluster.step()
        assert (await until_pending(driver, "")).weights == TENTH
        await driver.apply({"v2": 1.0})
        api.cluster.step()
        assert (await until_pending(driver, "")).weights == {"v2": 1.0}
        await driver.apply({"v1": 1.0})
        assert percent(api) == 0


async def test_canary_whose_revision_does_not_become_ready(tmp_path: Path) -> None:
    async with driven(tmp_path, CANARY, canary("s3://v1", None)) as (api, driver):

        def lie(status: Json) -> None:
            status["components"]["predictor"]["latestReadyRevision"] = "chat-1"

        api.cluster.lies["chat"] = lie
        api.put(canary("s3://v2", 10))
        api.cluster.step()
        (seen,) = await driver.look()
        created = stored(api, "InferenceService")["status"]["components"]["predictor"]["latestCreatedRevision"]
        assert (seen.weights, seen.pending) == (
            TENTH,
            f"revision {created} of InferenceService llm/chat is not ready; chat-1 serves its share",
        )


async def test_canary_in_parts_of_a_percent(tmp_path: Path) -> None:
    async with driven(tmp_path, CANARY, canary("s3://v2", 0)) as (api, driver):
        with pytest.raises(EngineRefused, match=r"v2 cannot get 0.5% of the requests: KServe takes whole percents"):
            await driver.apply({"v1": 0.995, "v2": 0.005})
        assert (await driver.check("v2")).least_share == 0.01
        assert percent(api) == 0


async def test_write_that_the_server_fails_is_unknown(tmp_path: Path) -> None:
    async with driven(tmp_path, CANARY, canary("s3://v2", 0)) as (api, driver):
        api.faults.fail("patch", "*/inferenceservices/chat", ApiError(500, "InternalError", "no leader"), done=True)
        with pytest.raises(Unavailable):
            await driver.apply(TENTH)
        await driver.apply(TENTH)
        assert (percent(api), len(verbs(api, "patch"))) == (10, 1)
