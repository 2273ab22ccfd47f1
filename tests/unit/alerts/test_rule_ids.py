"""A stored rule id maps to the same rule, whatever folder its file is in."""

from __future__ import annotations

import pytest

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rule_ids import RuleIds

HERE = ["/a/rules.yml;g;Hot", "/a/rules.yml;g;Hot#2", "/a/x/gpu.yml;g;Hot", "/a/y/gpu.yml;g;Hot", "builtin:llm;g;Down"]


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("/a/rules.yml;g;Hot", "/a/rules.yml;g;Hot"),
        ("/b/c/rules.yml;g;Hot", "/a/rules.yml;g;Hot"),
        ("/b/c/rules.yml;g;Hot#2", "/a/rules.yml;g;Hot#2"),
        ("builtin:llm;g;Down", "builtin:llm;g;Down"),
        ("/b/rules.yml;g;Cold", None),
        ("/b/rules.yml;other;Hot", None),
        ("/b/other.yml;g;Hot", None),
        ("/a/x/gpu.yml;g;Hot", "/a/x/gpu.yml;g;Hot"),
        ("/b/x/gpu.yml;g;Hot", None),
        ("", None),
    ],
)
def test_what_a_stored_id_means(stored: str, meant: str | None) -> None:
    assert RuleIds(HERE).meant(stored) == meant


def test_every_rule_that_was_in_the_pack_llm_is_found_in_its_new_pack() -> None:
    ids = {rule.id for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE) for rule in group.rules}
    groups = {
        "llm-requests": ("LLMLatencyP99High", "LLMLatencyQuantileHigh", "LLMStalled", "LLMKVCachePressure"),
        "llm-service": (
            "LLMEngineDown",
            "LLMGatewayDown",
            "LLMGatewayBehind",
            "TargetDown",
            "LLMEngineNotReady",
            "Watchdog",
        ),
        "llm-control-plane": ("RuleEvaluationFailing", "DatabaseNotWritten", "RemoteWriteDropping"),
        "llm-rollouts": ("LLMRolloutFailed", "LLMRolloutNeedsPerson", "LLMRolloutStuck"),
        "llm-cost": ("LLMCostOverBudget", "LLMCostForecastOverBudget"),
    }
    for group, names in groups.items():
        for name in names:
            meant = RuleIds(ids).meant(f"builtin:llm;{group};{name}")
            assert meant is not None and meant in ids and meant.endswith(f";{name}")
    assert RuleIds(ids).meant("builtin:llm;llm-service;LLMGatewayDown") == "builtin:gateway;gateway;LLMGatewayDown"


def test_an_slo_that_was_removed_is_not_another_slo() -> None:
    ids = {"builtin:slo;slo-chat-fast;LLMSLOFastBurn"}
    assert RuleIds(ids).meant("builtin:slo;slo-chat-up;LLMSLOFastBurn") is None
    assert RuleIds(ids).meant("builtin:llm;llm-service;TargetDown") is None
