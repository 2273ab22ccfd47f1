"""What is known of a model apart from its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.fleet.models import engines_not_ready, model_facts, newest
from controlplane.fleet.numbers import BackendKey, Numbers
from controlplane.rollout.model import Check, Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.strategies import Setting, blue_green
from controlplane.traffic.driver import TrafficObservation

NOW = 1_800_000_000.0
SECTION = ModelSection.model_validate(
    {
        "name": "chat",
        "stable": "v1",
        "traffic": {"driver": "none", "backends": [{"url": "http://a:8000", "engine": "triton"}]},
        "versions": {"v1": {}, "v2": {"backends": [{"url": "http://b:8000", "engine": "vllm"}]}},
    }
)
SEEN = TrafficObservation("chat", ())
PLAN = Plan(
    "chat",
    "v1",
    "v2",
    RolloutKind.PROMOTE,
    "blue-green",
    (),
    True,
    "secret",
    RolloutLimits(1, 1, 1),
    tuple(blue_green(Setting(RolloutLimits(1, 1, 1), Check()))),
    ("note",),
)


def status(**changes: Any) -> ModelStatus:
    base = ModelStatus("chat", "v1", None, SEEN, NOW - 1, "", None, True)
    return replace(base, **changes)


def rollout(phase: Phase = Phase.PREPARING, **changes: Any) -> Rollout:
    base = Rollout("r1", PLAN, phase, "loading v2", "ann", NOW, NOW, NOW, notes=("note",))
    return replace(base, **changes)


def facts(known: ModelStatus, latest: Rollout | None = None) -> Any:
    return model_facts(SECTION, known, latest, frozenset(), NOW)


def test_a_fresh_observation_counts_and_an_old_one_says_nothing_of_now() -> None:
    assert facts(status()).observation is SEEN
    old = facts(status(observed_at=NOW - 60))
    assert (old.observation, old.unobserved) == (None, "not observed since 2027-01-15T07:59:00.000Z")
    never = facts(status(observation=None, observed_at=None))
    assert (never.observation, never.unobserved) == (None, "not observed yet")


def test_configured_backends_are_the_versions_own_or_the_models() -> None:
    assert facts(status()).backends == {"v1": ("http://a:8000",), "v2": ("http://b:8000",)}


def test_a_stable_version_that_left_the_configuration_is_still_shown() -> None:
    assert facts(status(stable="v0")).versions == ("v0", "v1", "v2")


def test_simulated_targets_are_of_their_version_or_of_every_one() -> None:
    def simulated(*versions: str) -> frozenset[str]:
        return model_facts(SECTION, status(), None, frozenset(versions), NOW).simulated

    found = [set(simulated(*versions)) for versions in ((), ("v2",), ("v2", ""))]
    assert found == [set(), {"v2"}, {"v1", "v2"}]


@pytest.mark.parametrize(
    ("latest", "switched_at"),
    [
        (None, None),
        (rollout(), None),
        (rollout(Phase.SWITCHING, moved=True), NOW),
        (rollout(Phase.SUCCEEDED, moved=True, finished_at=NOW - 30), NOW - 30),
        (rollout(Phase.FAILED, finished_at=NOW - 30), None),
    ],
    ids=["no-rollout", "nothing-moved-yet", "moving-now", "moved-then", "never-moved"],
)
def test_when_traffic_last_moved(latest: Rollout | None, switched_at: float | None) -> None:
    assert facts(status(), latest).switched_at == switched_at


def test_promotion_needs_another_version() -> None:
    assert facts(status()).can_promote is True
    assert facts(status(can_promote=False)).can_promote is False
    alone = SECTION.model_copy(update={"versions": {"v1": SECTION.versions["v1"]}})
    assert model_facts(alone, status(), None, frozenset(), NOW).can_promote is False


def test_the_newest_rollout_of_each_model_comes_first() -> None:
    other = rollout(id="r3", plan=replace(PLAN, model="other"))
    first, second = rollout(id="r2"), rollout(id="r1")
    assert newest([first, other, second]) == {"chat": first, "other": other}


def test_an_engine_that_calls_itself_not_ready_while_a_model_serves_is_told_of() -> None:
    a, b, c = "http://a:8000", "http://b:8000", "http://c:8000"
    numbers = Numbers(
        ready={
            BackendKey("chat", "v1", a): True,
            BackendKey("chat", "v1", b): False,
            BackendKey("chat", "v1", c): True,
            BackendKey("elsewhere", "v1", a): True,
        },
        engine_ready={a: False, b: False, c: True},
    )
    (told,) = engines_not_ready([facts(status())], numbers)
    assert (told.model, told.rollout, told.need) == ("chat", None, "engine_not_ready")
    assert told.sentence.startswith("http://a:8000 calls itself not ready although chat serves there: a load balancer")
    assert engines_not_ready([facts(status(rollout=rollout()))], numbers) == (), "a load makes Triton say so"
    assert engines_not_ready([facts(status())], Numbers(ready=numbers.ready)) == (), "what was not asked is unknown"
