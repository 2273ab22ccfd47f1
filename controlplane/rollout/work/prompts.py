"""Questions from the prompts of an operator. Pure."""

from __future__ import annotations

from controlplane.config.models import ModelSection
from controlplane.rollout.model import Plan
from controlplane.rollout.verification import asked
from controlplane.traffic.driver import Question

_WRITING = frozenset(("chat/completions", "completions", "generate", "generate_stream"))
"""Paths whose requests are one prompt."""


def question_of(plan: Plan, section: ModelSection, prompt: str, timeout_s: float) -> Question:
    """Return the request of a prompt: on the path of the plan's check if that takes prompts, else on a usual one."""
    path = next((each.path for each in plan.check.questions if each.path in _WRITING), None)
    return asked(section, path, None, prompt, timeout_s)
