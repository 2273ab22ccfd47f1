"""The driver on the strict API server: lost answers, other writers, missing rights, and orders that cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.kubernetes.proxy import TRIES
from controlplane.traffic.kubernetes.refusals import Missing
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.kubernetes.errors import ApiError, TextError
from tests.patience import HANG_S
from tests.unit.controlplane.traffic.kubernetes.accounts import (
    SECRET,
    no_secret_is_logged,  # noqa: F401 - a fixture of every test
)
from tests.unit.controlplane.traffic.kubernetes.driven import (
    GATEWAY,
    ROUTE,
    driven,
    endpoints,
    route,
    rule,
    stored,
    verbs,
    weights,
)

Json = dict[str, Any]
PATH = "*/httproutes/chat"
TENTH = {"v1": 0.9, "v2": 0.1}


async def fault(call: Awaitable[object]) -> tuple[type[ControlPlaneError], str]:
    with pytest.raises(ControlPlaneError) as caught:
        await call
    assert SECRET not in str(caught.value)
    return type(caught.value), str(caught.value)


async def test_order_is_written_once_and_read_back(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        await driver.apply(TENTH)
        assert weights(api) == [[90, 10]]
        await driver.apply(TENTH)
        assert verbs(api, "get", "patch") == ["get", "patch", "get", "get"]


@pytest.mark.parametrize("how", ["hang", "close"])
@pytest.mark.parametrize("done", [True, False])
async def test_lost_answer_of_a_write_is_unknown_until_the_next_order_reads(
    how: str, done: bool, tmp_path: Path
) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        getattr(api.faults, how)("patch", PATH, done=done)
        assert (await fault(driver.apply(TENTH)))[0] is Unavailable
        assert weights(api) == ([[90, 10]] if done else [[100, 0]])
        await driver.apply(TENTH)
        assert weights(api) == [[90, 10]]
        assert len(verbs(api, "patch")) == (1 if done else 2)


def intrude(api: ApiServer, times: int) -> None:
    """Let another writer change the route between each of the next reads and the write after it."""

    def change(found: Json) -> None:
        if times > 1:
            intrude(api, times - 1)
        found["metadata"].setdefault("labels", {})[f"team-{times}"] = "a"
        found["spec"].setdefault("hostnames", []).append(f"h{times}.example")
        first = found["spec"]["rules"][0]
        first["timeouts"] = {"request": f"{times}s"}
        header = {"set": [{"name": "x", "value": str(times)}]}
        first["filters"] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": header}]
        first["backendRefs"][0]["filters"] = first["filters"]
        first["retry"] = {"attempts": times}
        found["spec"]["rules"].append({"backendRefs": [{"name": f"other-{times}", "port": 80}]})

    api.between("get", "patch", PATH, change)


async def test_changes_of_other_writers_stay_whole(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        intrude(api, TRIES - 1)
        await driver.apply(TENTH)
        wanted = stored(api, "HTTPRoute")
        wanted["spec"]["rules"][0]["backendRefs"][0]["weight"] = 100
        wanted["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0
        before = api.store.events[-1].before
        assert before is not None
        assert before["spec"] == wanted["spec"]
        assert weights(api) == [[90, 10], [1], [1], [1], [1]]
        assert sorted(wanted["metadata"]["labels"]) == ["team-1", "team-2", "team-3", "team-4"]
        assert wanted["spec"]["hostnames"] == [f"h{number}.example" for number in (4, 3, 2, 1)]
        first = wanted["spec"]["rules"][0]
        assert (first["timeouts"], first["retry"]) == ({"request": "1s"}, {"attempts": 1})
        assert first["backendRefs"][0]["filters"] == first["filters"]
        assert len(verbs(api, "patch")) == TRIES


async def test_writer_that_is_always_quicker(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        intrude(api, TRIES)
        assert await fault(driver.apply(TENTH)) == (
            Unavailable,
            "llm/chat was changed by other writers 5 times in a row; the order is repeated",
        )
        assert weights(api)[0] == [100, 0]
        await driver.apply(TENTH)
        assert weights(api)[0] == [90, 10]


async def test_every_rule_of_the_versions_gets_the_order(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(rule(90, 10), rule(100, 0))) as (api, driver):
        await driver.apply(TENTH)
        assert weights(api) == [[90, 10], [90, 10]]


async def test_foreign_backend_with_requests_is_refused_with_its_name(tmp_path: Path) -> None:
    old = rule(100, 0)
    old["backendRefs"].append({"name": "old", "port": 80})
    async with driven(tmp_path, ROUTE, route(old)) as (api, driver):
        reason = (
            "old in HTTPRoute llm/chat gets requests and is no version; take it out of the rule's backendRefs, or set "
            "its weight to 0"
        )
        assert await fault(driver.apply({"v2": 1.0})) == (
            EngineRefused,
            f"llm/chat cannot split the requests as ordered: {reason}",
        )
        assert weights(api) == [[0, 100, 1]]  # the versions have what was ordered
        assert reason in (await driver.check("v2")).reasons


async def test_version_that_is_none(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        assert await fault(driver.apply({"v9": 1.0})) == (EngineRefused, "v9 is no version in fleet.yaml")
        assert api.requests == []


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            TextError(429, "Too many requests, please try again later.\n", {"Retry-After": "1"}),
            NotSent,
            "the API server has too many requests and did not patch HTTPRoute llm/chat: Too many requests, please try "
            "again later.",
        ),
        (
            ApiError(403, "Forbidden", 'httproutes "chat" is forbidden: exceeded quota: q'),
            EngineRefused,
            'httproutes "chat" is forbidden: exceeded quota: q; the account has the right, but an admission rule, a '
            "quota or the namespace's deletion forbids it",
        ),
        (
            TextError(404, "404 page not found\n"),
            Missing,
            "the cluster knows no httproutes.gateway.networking.k8s.io of version v1: install its "
            "CustomResourceDefinitions, or name another kind of object under traffic:",
        ),
    ],
)
async def test_refused_write(error: Exception, kind: type[ControlPlaneError], words: str, tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        api.faults.fail("patch", PATH, error)  # type: ignore[arg-type]
        assert await fault(driver.apply(TENTH)) == (kind, words)
        assert weights(api) == [[100, 0]]


async def test_look_shows_the_order_and_what_gateways_have_not_said(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        (seen,) = await driver.look()
        assert (seen.name, seen.weights, seen.pending, seen.fault) == ("llm/chat", {"v1": 1.0}, "", "")
        await driver.apply(TENTH)
        (seen,) = await driver.look()
        assert (seen.weights, seen.pending) == (TENTH, "gateway gw has not seen the last change of HTTPRoute llm/chat")
        api.cluster.refused["chat"] = "NotAllowedByListeners"
        api.cluster.step()
        async with asyncio.timeout(HANG_S):
            while "has not seen" in seen.pending:
                (seen,) = await driver.look()
        assert seen.pending == "gateway gw has not Accepted for HTTPRoute llm/chat: NotAllowedByListeners"


async def test_look_after_the_watches_have_expired(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (api, driver):
        await driver.look()
        await driver.apply(TENTH)
        api.faults.expire_watches()
        assert (await driver.look())[0].weights == TENTH


async def test_look_without_an_object_or_a_server(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE) as (api, driver):
        (seen,) = await driver.look()
        assert (seen.weights, seen.fault) == (None, "namespace llm has no HTTPRoute chat")
        assert await fault(driver.apply(TENTH)) == (Missing, "namespace llm has no HTTPRoute chat")
        await api.stop(kill=True)
        (seen,) = await driver.look()
        assert seen.weights is None
        assert seen.fault.startswith(f"the API server {api.url} did not answer get of HTTPRoute llm/chat: ")


def allowed(*missing: str) -> list[Rule]:
    """Return the rules of deploy/ for a route, without the verbs in `missing`."""
    given = [verb for verb in ("get", "list", "watch", "patch") if verb not in missing]
    slices = [] if "endpointslices" in missing else [Rule(["list"], ["discovery.k8s.io"], ["endpointslices"])]
    return [Rule(given, [GATEWAY], ["httproutes"], ["chat"], "llm"), *slices]


def rule_is_missing(verb: str) -> str:
    return (
        f'httproutes.gateway.networking.k8s.io "chat" is forbidden: User "driver" cannot {verb} resource "httproutes" '
        f'in API group "gateway.networking.k8s.io" in the namespace "llm"; allow the verb {verb} on '
        "httproutes.gateway.networking.k8s.io chat in namespace llm (deploy/kubernetes/rollouts.yaml has the rules)"
    )


PODS = (endpoints("chat-v1", "10.0.0.1"), endpoints("chat-v2", "10.0.0.2"))
DRAWS = "the gateway draws the version of each request by chance or in turns, as its maker decided"


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_missing_right_to_watch_is_told_and_the_object_read_instead(verb: str, tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(), *PODS, rules=allowed(verb)) as (_, driver):
        found = await driver.check("v2")
        assert (found.reasons, found.known) == (
            (),
            (DRAWS, f"{rule_is_missing(verb)}; it is read at each look instead"),
        )
        assert (await driver.look())[0].weights == {"v1": 1.0}
        await driver.apply(TENTH)
        assert (await driver.look())[0].weights == TENTH


async def test_missing_right_to_write_is_a_reason(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(), *PODS, rules=allowed("patch")) as (_, driver):
        assert (await driver.check("v2")).reasons == (rule_is_missing("patch"),)
        assert await fault(driver.apply(TENTH)) == (EngineRefused, rule_is_missing("patch"))


async def test_missing_right_to_read_is_a_reason(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(), *PODS, rules=allowed("get")) as (_, driver):
        assert (await driver.check("v2")).reasons == (rule_is_missing("get"),)


async def test_missing_right_to_see_pods_is_a_reason(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(), *PODS, rules=allowed("endpointslices")) as (_, driver):
        (reason,) = (await driver.check("v2")).reasons
        assert reason.startswith("whether Service chat-v2 has ready pods is not known: endpointslices.discovery.k8s.io")


async def test_check_names_services_without_ready_pods(tmp_path: Path) -> None:
    unready = endpoints("chat-v2", "10.0.0.2", "10.0.0.3", ready=False)
    async with driven(tmp_path, ROUTE, route(), unready) as (_, driver):
        found = await driver.check("v2")
        cure = "name the Service with the version's pods under services:"
        assert found.reasons == (f"Service chat-v2 of v2 has 2 pods, and none is ready; {cure}",)
        assert found.known == (DRAWS, f"Service chat-v1 of v1 has no pods; {cure}")


async def test_check_changes_nothing_and_minds_no_other_writer(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route(), *PODS) as (api, driver):
        before = stored(api, "HTTPRoute")
        conflict = ApiError(409, "Conflict", "the object has been modified")
        api.faults.fail("patch", PATH, conflict)
        assert (await driver.check("v2")).reasons == ()
        assert stored(api, "HTTPRoute") == before


async def test_persist_tells_what_keeps_the_weights(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (_, driver):
        assert await driver.persist({"v1": 1.0}) == ["the cluster keeps these weights in HTTPRoute llm/chat"]
        assert await fault(driver.persist(TENTH)) == (
            EngineRefused,
            "llm/chat has other weights than ordered; does another program set them back?",
        )


async def test_close_in_the_middle_of_a_look(tmp_path: Path) -> None:
    async with driven(tmp_path, ROUTE, route()) as (_, driver):
        look = asyncio.create_task(driver.look())
        await asyncio.sleep(0)
        await driver.close()
        (seen,) = await look
        assert seen.weights is None
        assert (await driver.look())[0].fault == ("the API server was not asked: the configuration has just changed")
