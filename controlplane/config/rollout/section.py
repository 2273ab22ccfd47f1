"""`models[].rollout:` of fleet.yaml, and `rollouts:`, whose gates hold for every model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.remote import ServerUrl
from controlplane.config.rollout.analysis import AnalysisSection, Expression, named
from controlplane.config.rollout.freeze import FreezeSection
from controlplane.config.rollout.golden import GoldenSection, Prompts
from controlplane.config.rollout.steps import Ratio, StepSection, step_faults, step_maps
from controlplane.config.vocabulary import Access, Duration, Interval, Model, Name, Text

BUILTIN_CHECKS = ("monitoring", "rollback", "capacity")
"""Checklist items that this program checks by itself."""
MomentName = Literal["start", "switch", "step", "full", "retire", "rollback", "end"]


class WarmSection(Model):
    """The warm gate: requests until the time to first token settles."""

    prompts: Prompts = ()
    """Default: the test request of the model."""
    at_least: int = Field(default=5, ge=2, le=1000, strict=True)
    at_most: int = Field(default=100, ge=2, le=10_000, strict=True)
    within: Annotated[Ratio, Field(gt=0)] = 0.2
    """Share by which the last `at_least` times may differ from their median."""
    timeout: Interval = 300.0

    @check
    def _numbers_fit(self) -> Iterator[Fault]:
        if self.at_least > self.at_most:
            yield Fault(("at_least",), f"{self.at_least} is more than at_most ({self.at_most})")


class TopUpSection(Model):
    """Synthetic requests where clients send too few."""

    prompts: Annotated[Prompts, Field(min_length=1)]
    per_minute: int = Field(default=30, ge=1, le=6000, strict=True)
    at_most: int = Field(default=1000, ge=1, le=1_000_000, strict=True)


class HookSection(Access):
    """A URL that is called at a moment of a rollout."""

    name: Name
    at: MomentName
    url: ServerUrl
    timeout: Annotated[Interval, Field(le=300)] = 10.0
    on_failure: Literal["roll-back", "pause", "ignore"] = "roll-back"

    @check
    def _failure_has_a_meaning(self) -> Iterator[Fault]:
        if self.at in ("rollback", "end") and "on_failure" in self.model_fields_set and self.on_failure != "ignore":
            yield Fault(("on_failure",), f"a hook at {self.at} stops nothing; leave it out")


class ApprovalSection(Model):
    """Approvals that a rollout waits for."""

    at: Literal["start", "switch", "step", "full", "retire"]
    count: int = Field(default=1, ge=1, le=20, strict=True)
    role: Literal["operator", "admin"] = "operator"


class CheckSection(Model):
    """One item of the checklist: a check of this program, PromQL, a backup, or a text that a person attests."""

    name: Name
    expr: Expression | None = None
    attested: Text | None = None
    """Text or link that attests the item for every rollout."""
    backup: Name | None = None
    """Job of `backup:` of which a run must succeed after the rollout was created."""

    @property
    def builtin(self) -> bool:
        """Whether this program checks the item by itself."""
        return self.name in BUILTIN_CHECKS and not (self.expr or self.attested or self.backup)

    @check
    def _one_proof(self) -> Iterator[Fault]:
        given = [name for name in ("expr", "attested", "backup") if getattr(self, name)]
        if len(given) > 1:
            yield Fault((), f"{given[0]}: and {given[1]}: cannot both be given")


Hooks = Annotated[tuple[HookSection, ...], Field(max_length=20)]
Checklist = Annotated[tuple[CheckSection, ...], named("name"), Field(max_length=50)]
Steps = Annotated[tuple[StepSection, ...], BeforeValidator(step_maps)]


class Gates(Model):
    """Gates of one model, or of all."""

    hooks: Hooks = ()
    approvals: Annotated[tuple[ApprovalSection, ...], Field(max_length=20)] = ()
    checklist: Checklist = ()

    @check
    def _hooks_differ(self) -> Iterator[Fault]:
        yield from _differ("hooks", self.hooks)

    @check
    def _checks_differ(self) -> Iterator[Fault]:
        yield from _differ("checklist", self.checklist)


class RolloutSection(Gates):
    """Options of a model's promotions."""

    strategy: Literal["blue-green", "canary", "rolling", "recreate"] | None = None
    """Default: canary where steps are given, else blue-green."""
    steps: Steps = ()
    analysis: AnalysisSection | None = None
    """Default: a canary is analysed with the defaults, other strategies are not."""
    warm: WarmSection | None = None
    golden: GoldenSection | None = None
    top_up: TopUpSection | None = None
    rollback_on: tuple[Text, ...] = ()
    deadline: Interval | None = None
    rollback_window: Duration = 0.0
    allow_downtime: bool = False
    after: tuple[Name, ...] = ()

    @property
    def effective_strategy(self) -> str:
        """The strategy of a promotion that names none."""
        return self.strategy or ("canary" if self.steps else "blue-green")

    @check
    def _steps_are_possible(self) -> Iterator[Fault]:
        for fault in step_faults(self.steps):
            yield Fault(("steps", *fault.loc), fault.sentence)

    @check
    def _steps_are_a_canarys(self) -> Iterator[Fault]:
        if self.steps and self.strategy not in (None, "canary"):
            yield Fault(("steps",), f"are for strategy canary; strategy is {self.strategy}")

    @check
    def _deadline_is_longer_than_a_look(self) -> Iterator[Fault]:
        if self.deadline is not None and self.analysis and self.deadline <= self.analysis.interval:
            yield Fault(("deadline",), f"must be longer than analysis.interval ({self.analysis.interval:g}s)")

    @check
    def _alerts_differ(self) -> Iterator[Fault]:
        for number, name in enumerate(self.rollback_on):
            if name in self.rollback_on[:number]:
                yield Fault(("rollback_on", number), f"{name} is named twice")


class RolloutsSection(Gates):
    """Gates of the promotions of all models, in addition to a model's own, and freeze windows."""

    freeze: Annotated[tuple[FreezeSection, ...], Field(max_length=100)] = ()

    @check
    def _windows_differ(self) -> Iterator[Fault]:
        yield from _differ("freeze", self.freeze)


def _differ(field: str, items: Sequence[HookSection | CheckSection | FreezeSection]) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, item in enumerate(items):
        if not item.reads("name"):
            continue
        if item.name in seen:
            yield Fault((field, number, "name"), f"{item.name!r} is the name of an earlier one")
        seen.add(item.name)
