"""Services of a Consul agent: every form of an instance, and an agent that refuses, lies or floods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from collectors.discovery import consul_following
from collectors.discovery.consul_following import consul_follower
from collectors.discovery.consul_sd import ConsulSd, entries_of, health_of
from collectors.discovery.entries import Entry
from collectors.target import Auth
from tests.fakes.consul import Consul, consul, instance
from tests.fakes.heard import heard_of

CHAT = ["10.0.0.1:8001", "chat.example:8002", "[fd00::5]:8003"]
OTHERS = ["10.0.0.1:8005", "10.0.0.1:8006", "10.0.0.1:8004"]


@pytest.fixture
def agent() -> Iterator[tuple[Consul, ConsulSd]]:
    with consul() as (running, server):
        yield running, ConsulSd(server)


async def test_instances_become_addresses_with_the_labels_of_prometheus(agent: tuple[Consul, ConsulSd]) -> None:
    running, sd = agent
    async with heard_of(lambda means: consul_follower(sd, means)) as heard:
        assert (heard.addresses, heard.error, heard.slept) == ([*CHAT, *OTHERS], "", [30.0])
        labels = dict(heard.lists[0][2].labels)
    assert labels == {
        "__meta_consul_address": "10.0.0.1",
        "__meta_consul_dc": "dc1",
        "__meta_consul_health": "critical",
        "__meta_consul_metadata_rack_id": "a",
        "__meta_consul_namespace": "",
        "__meta_consul_node": "n1",
        "__meta_consul_partition": "",
        "__meta_consul_service": "chat",
        "__meta_consul_service_address": "fd00::5",
        "__meta_consul_service_id": "i3",
        "__meta_consul_service_metadata_model": "chat",
        "__meta_consul_service_metadata_odd_name": "1",
        "__meta_consul_service_port": "8003",
        "__meta_consul_tagged_address_lan": "10.0.0.1",
        "__meta_consul_tagged_address_wan": "198.51.100.1",
        "__meta_consul_tags": ",gpu,b,",
    }
    assert sorted(path for path, _, _ in running.asked) == [
        "/v1/agent/self",
        "/v1/catalog/services",
        "/v1/health/service/chat",
        "/v1/health/service/consul",
        "/v1/health/service/embed%2Fv2",
    ]


async def test_named_services_are_asked_for_without_the_catalogue(agent: tuple[Consul, ConsulSd]) -> None:
    running, sd = agent
    named = replace(sd, services=("chat", "chat", "gone"), datacenter="east", auth=Auth(inline="t0ken"))
    async with heard_of(lambda means: consul_follower(named, means)) as heard:
        assert (heard.addresses, heard.error) == (CHAT, "")
    scope = {"dc": ["east"], "stale": [""]}
    assert sorted(running.asked) == [
        ("/v1/health/service/chat", scope, "Bearer t0ken"),
        ("/v1/health/service/gone", scope, "Bearer t0ken"),
    ]


async def test_tags_metadata_and_scope_choose_services_and_instances(agent: tuple[Consul, ConsulSd]) -> None:
    running, sd = agent
    chosen = replace(
        sd,
        tags=("gpu", "a"),
        node_meta=(("rack", "a"), ("row", "7")),
        namespace="team",
        partition="p",
        filter='ServiceName == "chat"',
        allow_stale=False,
    )
    async with heard_of(lambda means: consul_follower(chosen, means)) as heard:
        assert heard.addresses == CHAT[:1]
    scope = {"ns": ["team"], "partition": ["p"], "node-meta": ["rack:a", "row:7"]}
    assert running.asked[1:] == [
        ("/v1/catalog/services", {**scope, "filter": ['ServiceName == "chat"']}, ""),
        ("/v1/health/service/chat", {**scope, "tag": ["gpu", "a"]}, ""),
    ]


async def test_the_list_follows_the_agent(agent: tuple[Consul, ConsulSd]) -> None:
    running, sd = agent
    async with heard_of(lambda means: consul_follower(sd, means)) as heard:
        del running.services["consul"], running.services["embed/v2"]
        await heard.again()
        assert heard.addresses == CHAT
        running.services.clear()
        await heard.again()
        assert (heard.addresses, heard.error) == ([], "")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"status": 500}, "/v1/agent/self answered 500 Internal Server Error, expected 200"),
        (
            {"status": 403},
            "/v1/agent/self answered 403 Forbidden, expected 200; "
            "give the agent's token by authorization:, with the rights service:read and node:read",
        ),
        ({"body": b"{}"}, "/v1/health/service/chat answered something else than a list; is this Consul's API?"),
        ({"body": b"<html>"}, "/v1/health/service/chat answered something else than JSON"),
        ({"body": b" " * 4097}, "the body has more than the 4096 bytes allowed"),
    ],
)
async def test_a_bad_answer_keeps_the_last_list(
    agent: tuple[Consul, ConsulSd], bad: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_following, "MAX_BODY_BYTES", 4096)
    running, sd = agent
    del running.services["consul"], running.services["embed/v2"]
    async with heard_of(lambda means: consul_follower(sd, means)) as heard:
        for name, value in bad.items():
            setattr(running, name, value)
        await heard.again()
        assert (len(heard.lists), heard.error) == (1, f"consul_sd http://{sd.server}: {told}")
        running.status, running.body = 200, None
        await heard.again()
        assert (heard.addresses, heard.error) == (CHAT, "")


async def test_an_agent_that_is_away_is_told() -> None:
    sd = ConsulSd("127.0.0.1:1", path_prefix="/consul/")
    async with heard_of(lambda means: consul_follower(sd, means)) as heard:
        assert heard.error == "consul_sd http://127.0.0.1:1/consul: connection refused"


@pytest.mark.parametrize(
    ("states", "health"),
    [
        ([], "passing"),
        ([("a", "passing")], "passing"),
        ([("a", "passing"), ("b", "warning")], "warning"),
        ([("a", "critical"), ("b", "warning")], "critical"),
        ([("a", "passing"), ("_node_maintenance", "critical")], "maintenance"),
        ([("a", "odd")], ""),
    ],
)
def test_the_worst_check_is_the_health(states: list[tuple[str, str]], health: str) -> None:
    assert health_of([{"CheckID": name, "Status": state} for name, state in states]) == health


def test_parts_of_another_form_count_as_empty_and_control_characters_as_spaces() -> None:
    odd = instance(1, ["a\x00b"], Port="8000", Meta=[], ID=7)
    nameless: list[Any] = [None, {}, {"Node": [], "Service": {"Port": 1}}, odd]
    (entry,) = entries_of(ConsulSd(tag_separator=";"), "dc1", {"chat": nameless})
    assert isinstance(entry, Entry)
    assert entry.addresses == ("10.0.0.1:0",)
    assert (entry.labels["__meta_consul_tags"], entry.labels["__meta_consul_service_id"]) == (";a b;", "")
