"""The selector of a Service: the labels of one version, and every other label as it was."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.resource import service
from controlplane.traffic.kubernetes.selector import SelectorSplit
from controlplane.traffic.kubernetes.splitting import Unfit

Json = dict[str, Any]
CHAT = service("llm", "chat")
SPLIT = SelectorSplit(CHAT, {"v1": {"version": "v1"}, "v2": {"version": "v2", "track": "canary"}})


def selecting(selector: object) -> dict[Any, Json]:
    return {CHAT: {"metadata": {"resourceVersion": "9"}, "spec": {"selector": selector}}}


@pytest.mark.parametrize(
    ("selector", "shares"),
    [
        ({"app": "chat", "version": "v1"}, {"v1": 1.0}),
        ({"app": "chat", "version": "v2", "track": "canary"}, {"v2": 1.0}),
        ({"app": "chat", "version": "v2"}, {}),
        ({"app": "chat"}, {}),
        ({"app": "chat", "version": "v1", "track": "canary"}, {"v1": 1.0}),
    ],
)
def test_shares(selector: Json, shares: dict[str, float]) -> None:
    assert SPLIT.shares(selecting(selector)) == shares


@pytest.mark.parametrize(
    ("selector", "version", "change"),
    [
        ({"app": "chat", "version": "v1"}, "v2", {"version": "v2", "track": "canary"}),
        ({"app": "chat", "version": "v2", "track": "canary"}, "v1", {"version": "v1", "track": None}),
        ({"app": "chat"}, "v1", {"version": "v1"}),
        ({"app": "chat", "version": "v1", "track": "canary"}, "v1", {"track": None}),
    ],
)
def test_change_names_only_labels_of_versions(selector: Json, version: str, change: Json) -> None:
    assert SPLIT.changes(selecting(selector), {version: 1.0}) == [
        (CHAT, {"metadata": {"resourceVersion": "9"}, "spec": {"selector": change}})
    ]


def test_nothing_is_written_where_the_version_is_selected() -> None:
    assert SPLIT.changes(selecting({"app": "chat", "version": "v1"}), {"v1": 1.0, "v2": 0.0}) == []


@pytest.mark.parametrize("shares", [{"v1": 0.9, "v2": 0.1}, {}])
def test_split_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(EngineRefused) as caught:
        SPLIT.changes(selecting({"version": "v1"}), shares)
    assert str(caught.value) == (
        "requests to a Service cannot be split by weight: its selector names the pods of one version"
    )


@pytest.mark.parametrize("selector", [None, {}, "rubbish"])
def test_service_without_a_selector(selector: object) -> None:
    with pytest.raises(Unfit) as caught:
        SPLIT.changes(selecting(selector), {"v1": 1.0})
    assert str(caught.value) == "Service llm/chat has no selector, so somebody else writes its endpoints"


def test_setup_names_the_labels_that_are_expected() -> None:
    assert SPLIT.setup(selecting({"app": "chat"})).reasons == (
        "the selector of Service llm/chat has the labels of no version, or of several; expected version=v1 or "
        "version=v2,track=canary",
    )


def test_setup_names_who_applies_the_selector_too() -> None:
    states = selecting({"version": "v1"})
    fields: dict[str, Any] = {"f:spec": {"f:selector": {}}}
    states[CHAT]["metadata"]["managedFields"] = [{"manager": "flux", "operation": "Apply", "fieldsV1": fields}]
    found = SPLIT.setup(states)
    assert (found.reasons, found.known) == (
        (),
        ("flux applies /spec/selector of Service llm/chat too, and may set it back; let flux ignore that field",),
    )
    assert found.whole_only == (
        "requests to a Service cannot be split by weight: its selector names the pods of one version"
    )
