"""Rollouts for tests of their works: of model `chat` from v1 to v2, with the options that a test gives."""

from __future__ import annotations

from typing import Any

from controlplane.config.models import ModelSection
from controlplane.rollout.model import Check, Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.options import Options
from controlplane.traffic.driver import Question

BACKEND = "gateway"
QUESTION = Question("chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True})


def planned(*, backends: tuple[str, ...] = (BACKEND,), question: Question | None = QUESTION, **options: Any) -> Rollout:
    """Return a rollout. `options` are those of controlplane.rollout.options.Options."""
    plan = Plan(
        *("chat", "v1", "v2", RolloutKind.PROMOTE, "canary", backends, True, "", RolloutLimits(600, 300, 30), (), ()),
        check=Check(() if question is None else (question,)),
        options=Options(**options),
    )
    return Rollout("r-1", plan, Phase.PREPARING, "", "ann", 1000.0, 1000.0, 1000.0)


def section(
    *, v1: str = "http://a:1", v2: str = "http://b:1", engine: str = "vllm", served: str = "llama"
) -> ModelSection:
    """Return the model's section, each version on a server of its own behind the gateway."""
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "gateway", "model": served},
            "versions": {
                name: {"backends": [{"url": url, "engine": engine}]} for name, url in (("v1", v1), ("v2", v2))
            },
        }
    )
