"""Weights of a group of LLMInferenceServices: one object a version, and never a moment without requests."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.traffic.kubernetes.group import GroupSplit
from controlplane.traffic.kubernetes.resource import Resource, llm_inference_service
from controlplane.traffic.kubernetes.splitting import Unfit

Json = dict[str, Any]
V1, V2 = llm_inference_service("llm", "chat-v1"), llm_inference_service("llm", "chat-v2")
SPLIT = GroupSplit({"v1": V1, "v2": V2})


def member(weight: object, *, group: str = "chat", version: str = "5", listed: object = ...) -> Json:
    """Return a member whose controller has listed the weight of chat-v1 or chat-v2, where `listed` is given."""
    found: Json = {
        "metadata": {"resourceVersion": version},
        "spec": {"router": {"route": {"group": group, "weight": weight}}},
    }
    if listed is not ...:
        ready = [{"type": name, "status": "True"} for name in ("HTTPRoutesReady", "GroupReady")]
        found["status"] = {"conditions": ready, "router": {"group": {"members": listed}}}
    return found


def states(v1: object, v2: object) -> dict[Resource, Json]:
    return {V1: member(v1, version="5"), V2: member(v2, version="6")}


def weights(patches: list[tuple[Resource, Json]]) -> list[tuple[str, int]]:
    return [(one.name, patch["spec"]["router"]["route"]["weight"]) for one, patch in patches]


def test_change_is_locked_to_the_state_of_each_member() -> None:
    assert SPLIT.changes(states(100, 0), {"v1": 0.9, "v2": 0.1}) == [
        (V2, {"metadata": {"resourceVersion": "6"}, "spec": {"router": {"route": {"weight": 10}}}}),
        (V1, {"metadata": {"resourceVersion": "5"}, "spec": {"router": {"route": {"weight": 90}}}}),
    ]


@pytest.mark.parametrize(
    ("before", "shares", "writes"),
    [
        ((100, 0), {"v2": 1.0}, [("chat-v2", 100), ("chat-v1", 0)]),
        ((0, 100), {"v1": 1.0}, [("chat-v1", 100), ("chat-v2", 0)]),
        ((0, 0), {"v1": 1.0}, [("chat-v1", 100)]),
        ((90, 10), {"v1": 1.0}, [("chat-v1", 100), ("chat-v2", 0)]),
        ((100, 10), {"v1": 0.9, "v2": 0.1}, [("chat-v1", 90)]),  # only the first of two writes was done
        ((1, 0), {"v1": 0.9, "v2": 0.1}, [("chat-v1", 90), ("chat-v2", 10)]),
        ((9950, 50), {"v2": 1.0}, [("chat-v2", 100), ("chat-v1", 0)]),
        ((9999, 1), {"v1": 1.0}, [("chat-v2", 0), ("chat-v1", 100)]),
        ((9, 1), {"v1": 0.9, "v2": 0.1}, []),
        ((None, 100), {"v2": 1.0}, [("chat-v1", 0)]),
        ((10.0, 90.0), {"v1": 0.1, "v2": 0.9}, []),
    ],
)
def test_writes_and_their_order(
    before: tuple[object, object], shares: dict[str, float], writes: list[tuple[str, int]]
) -> None:
    assert weights(SPLIT.changes(states(*before), shares)) == writes


@pytest.mark.parametrize("before", [(100, 0), (0, 100), (50, 50), (9950, 50), (1, 0), (0, 1), (1, 9999)])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.1, 0.5, 0.995, 1.0])
def test_there_is_a_weight_above_zero_after_each_write(before: tuple[int, int], share: float) -> None:
    held = {"chat-v1": before[0], "chat-v2": before[1]}
    shares = {v: part for v, part in (("v2", share), ("v1", 1.0 - share)) if part > 0}
    for name, weight in weights(SPLIT.changes(states(*before), shares)):
        held[name] = weight
        assert sum(held.values()) > 0
    assert SPLIT.shares(states(*held.values())) == pytest.approx(shares)


def test_members_of_different_groups_or_none() -> None:
    words = "chat-v1, chat-v2 are not of one routing group; set spec.router.route.group of each to one name"
    for groups in (("chat", "other"), ("chat", ""), ("", "")):
        found = {one: member(50, group=group) for one, group in zip((V1, V2), groups, strict=True)}
        assert SPLIT.setup(found).reasons == (words,)
        with pytest.raises(Unfit) as caught:
            SPLIT.changes(found, {"v1": 1.0})
        assert str(caught.value) == words


def test_member_without_a_weight() -> None:
    assert SPLIT.setup(states(100, None)).reasons == (
        "LLMInferenceService llm/chat-v2 has no weight; set its spec.router.route.weight, to 0 for no requests",
    )


def test_setup_tells_that_two_weights_are_two_writes_and_who_writes_them_too() -> None:
    members = states(100, 0)
    fields: dict[str, Any] = {"f:spec": {"f:router": {"f:route": {"f:weight": {}}}}}
    members[V2]["metadata"]["managedFields"] = [{"manager": "flux", "operation": "Apply", "fieldsV1": fields}]
    found = SPLIT.setup(members)
    assert (found.reasons, found.least_share) == ((), 0.0001)
    assert found.known == (
        "two weights are two writes, so for a moment the shares are between the old and the new ones",
        "flux applies /spec/router/route/weight of LLMInferenceService llm/chat-v2 too, and may set it back; let flux "
        "ignore that field",
    )


LISTED = [{"name": "chat-v1", "weight": 90}, {"name": "chat-v2", "weight": 10}]


def pending(v2: Json) -> str:
    return SPLIT.pending({V1: member(90, listed=LISTED), V2: v2})


def test_pending_until_each_member_has_taken_its_weight() -> None:
    good = member(10, listed=LISTED)
    assert pending(good) == ""
    assert pending(member(20, listed=LISTED)) == (
        "the group's route has not taken the weight of LLMInferenceService llm/chat-v2"
    )
    assert pending(member(10, listed=None)) == (
        "the group's route has not taken the weight of LLMInferenceService llm/chat-v2"
    )
    assert pending(member(10)) == ("LLMInferenceService llm/chat-v2 is not HTTPRoutesReady: nothing was said about it")


def test_degraded_group_is_told_before_anything_else() -> None:
    worse = member(10, listed=LISTED)
    worse["status"]["conditions"].append({"type": "GroupDegraded", "status": "True", "message": "chat-v3 is gone"})
    assert pending(worse) == "the group of LLMInferenceService llm/chat-v2 is degraded: chat-v3 is gone"


def test_a_missing_member_keeps_no_order_from_the_others() -> None:
    left: dict[Resource, Json] = {V1: member(10)}
    assert SPLIT.shares(left) == {"v1": 1.0}
    assert weights(SPLIT.changes({V1: member(0)}, {"v1": 1.0})) == [("chat-v1", 100)]
    with pytest.raises(Unfit, match="chat-v2 does not exist, so it cannot get requests"):
        SPLIT.changes(left, {"v1": 0.9, "v2": 0.1})
    assert SPLIT.setup(left).reasons == (f"{V2} does not exist; create it with weight: 0",)


def test_a_group_without_any_member_is_unfit() -> None:
    with pytest.raises(Unfit, match="none of the LLMInferenceServices chat-v1, chat-v2 exists"):
        SPLIT.shares({})
