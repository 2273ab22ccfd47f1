"""Synthetic requests to both versions, where clients send too few to judge the candidate.

Both versions get the same prompts at the same time, so their answers can be compared with each other, and never with
those of clients. The requests go to the versions' own addresses: no gateway counts, limits or bills them.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.gateway.telemetry.families import (
    ANSWER_DURATION_BOUNDS,
    ANSWER_FIRST_BOUNDS,
    EACH_TOKEN_BOUNDS,
    TOKEN_BOUNDS,
)
from controlplane.rollout.findings import Finding, Outcome, Work
from controlplane.rollout.model import Rollout
from controlplane.rollout.options import TopUp
from controlplane.rollout.work.prompts import question_of
from controlplane.rollout.work.replies import said
from controlplane.traffic.driver import Answer, Driver, NotSent, Question, ServerReply

RUN_S = 60.0
"""Seconds of one run. Its counts are kept when it ends; after a crash the whole run counts as sent."""
TIMEOUT_S = 60.0
"""Deadline of one request. Chosen: a stable version answers sooner, so a later answer counts as failed."""
MOST_ROLLOUTS = 100
"""Most rollouts whose counts are held in memory. Chosen: far more than run at a time with synthetic requests."""


def _buckets(bounds: tuple[float, ...]) -> list[int]:
    return [0] * (len(bounds) + 1)


@dataclass
class VersionCounts:
    """Counts of one version. Histograms are over the gateway's bounds, not cumulative, the last bucket is +Inf."""

    asked: int = 0
    failed: int = 0
    finishes: dict[str, int] = field(default_factory=dict)
    """Good answers by the reason of their end, as the gateways name it."""
    empty: int = 0
    refused: int = 0
    first_s: list[int] = field(default_factory=lambda: _buckets(ANSWER_FIRST_BOUNDS))
    """Time to the first token of streams."""
    duration_s: list[int] = field(default_factory=lambda: _buckets(ANSWER_DURATION_BOUNDS))
    per_token_s: list[int] = field(default_factory=lambda: _buckets(EACH_TOKEN_BOUNDS))
    """Mean time per token after the first one of streams."""
    tokens: list[int] = field(default_factory=lambda: _buckets(TOKEN_BOUNDS))

    def count(self, answer: Answer) -> None:
        """Count the replies of an answer. An answer without one is a request that failed."""
        for reply in answer.replies:
            self._count(reply)
        if answer.fault and not answer.replies:
            self.asked += 1
            self.failed += 1

    def _count(self, reply: ServerReply) -> None:
        self.asked += 1
        if reply.fault:
            self.failed += 1
            return
        found = said(reply.body)
        finish = found.facts.finish.value
        self.finishes[finish] = self.finishes.get(finish, 0) + 1
        self.empty += not found.facts.said
        self.refused += found.facts.refused
        self.duration_s[bisect_left(ANSWER_DURATION_BOUNDS, reply.seconds)] += 1
        if reply.first_s is not None:
            self.first_s[bisect_left(ANSWER_FIRST_BOUNDS, reply.first_s)] += 1
        if found.tokens is not None:
            self.tokens[bisect_left(TOKEN_BOUNDS, found.tokens)] += 1
            if reply.first_s is not None and found.tokens > 1:
                each = (reply.seconds - reply.first_s) / (found.tokens - 1)
                self.per_token_s[bisect_left(EACH_TOKEN_BOUNDS, each)] += 1


@dataclass
class TopUpCounts:
    """Counts of a rollout's synthetic requests since it began."""

    prompts: int = 0
    """Number of prompts that were sent to both versions."""
    versions: dict[str, VersionCounts] = field(default_factory=dict)

    def of(self, version: str) -> VersionCounts:
        """Return the counts of a version."""
        return self.versions.setdefault(version, VersionCounts())


class TopUpWorker:
    """A rollout.workers.Worker: sends synthetic requests for a minute, at most as many as the options allow in all."""

    def __init__(
        self,
        drivers: Callable[[str], Driver | None],
        sections: Callable[[str], ModelSection | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`drivers` and `sections` return the present driver and section of a model by its name, or None."""
        self._drivers, self._sections, self._monotonic, self._sleep = drivers, sections, monotonic, sleep
        self._counts: dict[str, TopUpCounts] = {}

    def counts(self, rollout_id: str) -> TopUpCounts | None:
        """Return the counts of a rollout's finished runs. None: there is none since this process started."""
        return self._counts.get(rollout_id)

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Send the requests of one minute. PASS says that they were sent, whatever the answers are."""
        plan, options = rollout.plan, rollout.plan.options.top_up
        driver, section = self._drivers(plan.model), self._sections(plan.model)
        fresh = to_carry(TopUpCounts(), rollout.id) if work.number == 1 else ""
        carry = fresh if before is None else before.carry
        if options is None or not options.prompts:
            return Finding(Outcome.PASS, ("the plan has no synthetic requests",), carry=carry)
        if driver is None or section is None:
            return Finding(Outcome.NOT_ENOUGH, (f"model {plan.model} is not in fleet.yaml",), carry=carry)
        counts = _restored(work, before, rollout.id)
        if counts is None:
            return _lost(rollout, options)
        questions = [question_of(plan, section, prompt, TIMEOUT_S) for prompt in options.prompts]
        number = min(options.per_minute, options.at_most - counts.prompts)
        unknown = await self._send(driver, rollout, questions, counts, number, options)
        self._keep(rollout.id, counts)
        return _finding(rollout, options, counts, unknown)

    def interrupted(self, rollout: Rollout, work: Work, before: Finding | None) -> Finding:
        """Return the finding of a run that a process which died may have begun: all its prompts count as sent.

        Nobody knows how many it sent, and to send them again could exceed the limit.
        """
        options = rollout.plan.options.top_up
        counts = _restored(work, before, rollout.id)
        if options is None or counts is None:
            return _lost(rollout, options)
        counts.prompts += min(options.per_minute, options.at_most - counts.prompts)
        self._keep(rollout.id, counts)
        return _finding(rollout, options, counts, "the latest ones may have been lost with a process that died")

    def _keep(self, rollout_id: str, counts: TopUpCounts) -> None:
        self._counts.pop(rollout_id, None)
        self._counts[rollout_id] = counts
        while len(self._counts) > MOST_ROLLOUTS:
            del self._counts[next(iter(self._counts))]

    async def _send(
        self,
        driver: Driver,
        rollout: Rollout,
        questions: list[Question],
        counts: TopUpCounts,
        number: int,
        options: TopUp,
    ) -> str:
        """Send `number` prompts evenly over a minute. Return why one could not be sent, or ""."""
        plan, started = rollout.plan, self._monotonic()
        for sent in range(number):
            due = started + sent * RUN_S / options.per_minute
            now = self._monotonic()
            if now > started + RUN_S:
                break
            if now < due:
                await self._sleep(due - now)
            question = questions[counts.prompts % len(questions)]
            backend = plan.backends[counts.prompts % len(plan.backends)]
            versions = (plan.to_version, plan.from_version)
            answers = await asyncio.gather(*(_asked(driver, backend, version, question) for version in versions))
            faults = [answer for answer in answers if isinstance(answer, NotSent)]
            if faults:
                # One version without the other would be no comparison, but its request was sent.
                counts.prompts += len(faults) < len(answers)
                return str(faults[0])
            counts.prompts += 1
            for version, answer in zip(versions, answers, strict=True):
                assert isinstance(answer, Answer)
                counts.of(version).count(answer)
        return ""


async def _asked(driver: Driver, backend: str, version: str, question: Question) -> Answer | NotSent:
    try:
        return await driver.ask(backend, version, question)
    except NotSent as error:
        return error


def _restored(work: Work, before: Finding | None, rollout_id: str) -> TopUpCounts | None:
    """Return the counts of the runs before. None: there were some, and their counts are lost."""
    return TopUpCounts() if work.number == 1 else from_carry("" if before is None else before.carry, rollout_id)


def _lost(rollout: Rollout, options: TopUp | None) -> Finding:
    most = 0 if options is None else options.at_most
    words = f"no synthetic prompts are sent: it is not known how many of at most {most} were sent before"
    return Finding(Outcome.NOT_ENOUGH, (words,))


def _finding(rollout: Rollout, options: TopUp, counts: TopUpCounts, unknown: str) -> Finding:
    plan = rollout.plan
    words = f"{counts.prompts} of at most {options.at_most} synthetic prompts were sent to {plan.from_version} and "
    words += f"{plan.to_version}"
    outcome = Outcome.NOT_ENOUGH if unknown else Outcome.PASS
    return Finding(outcome, (f"{words}{f'; {unknown}' if unknown else ''}",), carry=to_carry(counts, rollout.id))


def to_carry(counts: TopUpCounts, rollout_id: str) -> str:
    """Return the counts as JSON."""
    return json.dumps({"rollout": rollout_id, **asdict(counts)})


def from_carry(carry: str, rollout_id: str) -> TopUpCounts | None:
    """Return the counts of a carry. None: it is of another rollout, or cannot be read."""
    try:
        kept = json.loads(carry) if carry else {}
        if kept.get("rollout") != rollout_id:
            return None
        versions = {str(name): _version(counts) for name, counts in kept["versions"].items()}
        return TopUpCounts(int(kept["prompts"]), versions)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _version(kept: Mapping[str, Any]) -> VersionCounts:
    """Return the counts of a version. Raises ValueError for histograms over other bounds."""
    counts, fresh = VersionCounts(**kept), VersionCounts()
    for name in ("first_s", "duration_s", "per_token_s", "tokens"):
        if len(getattr(counts, name)) != len(getattr(fresh, name)):
            raise ValueError(f"{name} is over other bounds")
    return counts
