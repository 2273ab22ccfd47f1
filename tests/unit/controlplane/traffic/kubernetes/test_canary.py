"""The canary of an InferenceService: what its spec orders, and when KServe has done it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.canary import CanarySplit
from controlplane.traffic.kubernetes.resource import inference_service
from controlplane.traffic.kubernetes.splitting import Unfit

Json = dict[str, Any]
CHAT = inference_service("llm", "chat")
SPLIT = CanarySplit(CHAT, {"v1": "s3://models/v1", "v2": "s3://models/v2"})


def service(percent: object = ..., uri: str = "s3://models/v2", *, sent: object = ..., ready: str = "chat-2") -> Json:
    """Return a service of generation 4 that KServe has seen, and that sends `sent` percent to its latest revision."""
    predictor: Json = {"model": {"storageUri": uri}}
    if percent is not ...:
        predictor["canaryTrafficPercent"] = percent
    told = percent if sent is ... else sent
    traffic = [
        {"latestRevision": True, "percent": told, "revisionName": "chat-2"},
        {"latestRevision": False, "percent": 100 - told if isinstance(told, int) else None, "revisionName": "chat-1"},
    ]
    component = {"latestCreatedRevision": "chat-2", "latestReadyRevision": ready, "traffic": traffic}
    return {
        "metadata": {"resourceVersion": "8", "generation": 4},
        "spec": {"predictor": predictor},
        "status": {
            "observedGeneration": 4,
            "components": {"predictor": component},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


@pytest.mark.parametrize(
    ("found", "shares"),
    [
        (service(0), {"v1": 1.0}),
        (service(10), {"v2": 0.1, "v1": 0.9}),
        (service(10.0), {"v2": 0.1, "v1": 0.9}),
        (service(100), {"v2": 1.0}),
        (service(), {"v2": 1.0}),
        (service(None), {"v2": 1.0}),
        (service(20, uri="s3://models/v1"), {"v1": 0.2, "v2": 0.8}),
        (service(50, sent=10), {"v2": 0.5, "v1": 0.5}),  # KServe is behind: the order counts
    ],
)
def test_shares_are_those_of_the_spec(found: Json, shares: dict[str, float]) -> None:
    assert SPLIT.shares({CHAT: found}) == shares


@pytest.mark.parametrize(
    ("found", "shares", "percent"),
    [
        (service(0), {"v2": 0.1, "v1": 0.9}, 10),
        (service(10), {"v1": 1.0}, 0),
        (service(50, sent=10), {"v2": 0.1, "v1": 0.9}, 10),  # the status still shows the order before the last one
        (service(100), {"v1": 1.0}, 0),
        (service(), {"v1": 1.0}, 0),
        (service(101), {"v2": 1.0}, 100),
        (service(20, uri="s3://models/v1"), {"v1": 1.0}, 100),
    ],
)
def test_change_is_one_field_under_the_version_that_was_read(
    found: Json, shares: dict[str, float], percent: int
) -> None:
    patch = {"metadata": {"resourceVersion": "8"}, "spec": {"predictor": {"canaryTrafficPercent": percent}}}
    assert SPLIT.changes({CHAT: found}, shares) == [(CHAT, patch)]


@pytest.mark.parametrize(
    ("found", "shares"),
    [(service(10, sent=0), {"v2": 0.1, "v1": 0.9}), (service(), {"v2": 1.0}), (service(100), {"v2": 1.0})],
)
def test_what_is_ordered_is_not_written_again(found: Json, shares: dict[str, float]) -> None:
    assert SPLIT.changes({CHAT: found}, shares) == []


def test_share_that_is_no_whole_percent_is_refused() -> None:
    with pytest.raises(EngineRefused) as caught:
        SPLIT.changes({CHAT: service(0)}, {"v2": 0.005, "v1": 0.995})
    assert str(caught.value) == "v2 cannot get 0.5% of the requests: KServe takes whole percents"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "s3://models/v9",
            "InferenceService llm/chat has storageUri s3://models/v9, which is of no version in models:",
        ),
        ("", "InferenceService llm/chat has storageUri of no model, which is of no version in models:"),
    ],
)
def test_model_of_no_version(uri: str, words: str) -> None:
    with pytest.raises(Unfit) as caught:
        SPLIT.shares({CHAT: service(10, uri)})
    assert str(caught.value) == words


def changed(found: Json, **status: object) -> Json:
    return {**found, "status": {**found["status"], **status}}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (service(10), ""),
        (service(0), ""),
        (service(sent=100), ""),
        (
            changed(service(10), observedGeneration=3),
            "KServe has not seen the last change of InferenceService llm/chat",
        ),
        ({**service(10), "status": None}, "KServe has not seen the last change of InferenceService llm/chat"),
        (
            service(10, ready="chat-1"),
            "revision chat-2 of InferenceService llm/chat is not ready; chat-1 serves its share",
        ),
        (
            changed(service(10), conditions=[{"type": "Ready", "status": "False", "message": "no GPU is free"}]),
            "InferenceService llm/chat is not ready: no GPU is free",
        ),
        (changed(service(10), conditions=None), "InferenceService llm/chat is not ready: nothing was said about it"),
        (
            changed(service(10), components=None),
            "KServe has not told the traffic of InferenceService llm/chat; without Knative it makes no canary",
        ),
        (
            service(50, sent=10),
            "KServe sends 10% to the latest revision of InferenceService llm/chat, and not 50%",
        ),
        (
            service(50, sent=None),
            "KServe sends 0% to the latest revision of InferenceService llm/chat, and not 50%",
        ),
    ],
)
def test_pending_until_kserve_sends_what_is_ordered(found: Json, words: str) -> None:
    assert SPLIT.pending({CHAT: found}) == words


def test_setup_without_a_canary_has_no_revision_to_go_back_to() -> None:
    assert SPLIT.setup({CHAT: service()}).reasons == (
        "InferenceService llm/chat has only v2: KServe keeps the revision before only under a canary. Apply the other "
        "version's model with canaryTrafficPercent: 0, then promote it",
    )


def test_setup_of_a_canary() -> None:
    state = service(0)
    fields: dict[str, Any] = {"f:spec": {"f:predictor": {"f:canaryTrafficPercent": {}}}}
    state["metadata"]["managedFields"] = [{"manager": "argocd-controller", "operation": "Update", "fieldsV1": fields}]
    found = SPLIT.setup({CHAT: state})
    assert (found.reasons, found.whole_only, found.least_share) == ((), "", 0.01)
    assert found.known == (
        "v1 is the revision before, and stays while canaryTrafficPercent is set; take the field out of the manifest "
        "when no rollback to it is wanted any more",
        "argocd-controller applies /spec/predictor/canaryTrafficPercent of InferenceService llm/chat too, and may set "
        "it back; let argocd-controller ignore that field",
    )
