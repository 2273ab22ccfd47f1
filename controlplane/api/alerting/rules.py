"""Trials of rules over the stored history, and the runbooks of the rules."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.holding.bodies import LENGTH, Instant
from controlplane.api.interop.asker import AskerDep
from controlplane.api.services import Services, ServicesDep
from controlplane.config.durations import instant_seconds
from controlplane.config.vocabulary import Duration
from controlplane.fleet.alerting.runbooks import Runbook, Shelf
from controlplane.fleet.alerting.trials import LONGEST_S, MOST_TEXT, Trial, TrialView, tried

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

Length = Annotated[Duration, Field(ge=0, le=LONGEST_S), WithJsonSchema(LENGTH)]
DAY_S = 86400.0


class TrialRequest(BaseModel):
    """A rule, and the range over which it is tried: from `start` to `end`, or the last `range`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    rule: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    """An expression, a rule in YAML, or a rule file with one alerting rule."""
    for_: Annotated[Length, Field(alias="for")] = 0.0
    """`for` of an expression. A rule in YAML has its own."""
    range: Length = DAY_S
    start: Instant | None = None
    end: Instant | None = None
    """null: now."""

    def trial(self, services: Services) -> Trial:
        """Return what is asked for. A rule whose group sets no interval has the fleet's."""
        now = services.clock.now()
        end = now if self.end is None else instant_seconds(self.end, now)
        start = end - self.range if self.start is None else instant_seconds(self.start, now)
        return Trial(self.rule, self.for_, start, end, services.config().evaluation_interval)


class RunbookList(BaseModel):
    """All runbooks, by name."""

    items: tuple[Runbook, ...]


@router.post("/cp/v1/rules/try")
@requires(Role.VIEWER)
async def try_rule(services: ServicesDep, asker: AskerDep, wanted: TrialRequest) -> TrialView:
    """Evaluate a rule over a range of the stored history: when it would have fired, and for which labels.

    Nothing is stored, and nobody is notified. What is wrong with the rule is in `findings`, in the words of
    `cp rules check`.
    """
    return await asker.wait_for(tried(services.queries, wanted.trial(services), asker.id))


@router.get("/cp/v1/runbooks")
@requires(Role.VIEWER)
def runbooks(services: ServicesDep) -> RunbookList:
    """List the runbooks, each with the pack and the severities of its alert."""
    return RunbookList(items=Shelf().all())
