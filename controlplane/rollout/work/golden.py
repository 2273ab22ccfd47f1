"""The quality gate: asks the candidate the prompts of a golden set, and checks the expected properties of the answers.

Results are kept with the finding. Prompts and answers are not, unless the golden set asks for excerpts.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

from controlplane.plain_text import plain
from controlplane.rollout.findings import Finding, Outcome, Sample, Work
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.options import Golden, GoldenPrompt
from controlplane.rollout.work.expectations import missing
from controlplane.rollout.work.judge import JudgeClient, Judgement, NoJudgement
from controlplane.rollout.work.replies import said
from controlplane.traffic.driver import Answer, Driver, NotSent, Question

OPEN = 4
"""Most prompts that are out at once. Chosen: little beside the requests of clients that the engine may have."""
EACH_S = 0.2
"""Least seconds between the starts of two prompts. Chosen."""
SLICE_S = 60.0
"""Seconds after which no further prompt is started and the results so far are kept. A crash loses at most these."""
MISSES = 8
"""Most prompts without a result in one run. Chosen: then the engine or the judge is away, and the rest can wait."""
SHOWN = 50
"""Most failed prompts with a sentence of their own."""


@dataclass(frozen=True)
class Result:
    """The result of one prompt. `fault` is "" when every expected property holds."""

    fault: str = ""
    stable: str = ""
    """The stable version's result of the same prompt, in words; "" if it was not asked or did well."""


@dataclass
class Progress:
    """The results so far, by the index of the prompt."""

    results: dict[int, Result] = field(default_factory=dict)
    unknown: str = ""
    """Why the last prompt without a result has none."""
    misses: int = 0
    """Number of prompts of this run without a result."""

    @property
    def failed(self) -> int:
        """Number of failed prompts."""
        return sum(bool(result.fault) for result in self.results.values())


class GoldenWorker:
    """A rollout.workers.Worker: asks what is left of the golden set for a minute at most, and keeps the results."""

    def __init__(
        self,
        drivers: Callable[[str], Driver | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`drivers` returns the present driver of a model by its name, or None."""
        self._drivers, self._monotonic, self._sleep = drivers, monotonic, sleep

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return PASS or FAIL when the result is certain, and NOT_ENOUGH while prompts are left.

        A prompt without a result, because an engine or the judge could not be asked, is asked again in the next run.
        """
        golden, driver = rollout.plan.options.golden, self._drivers(rollout.plan.model)
        if golden is None:
            return Finding(Outcome.PASS, ("the plan has no golden set",))
        if driver is None:
            return Finding(Outcome.NOT_ENOUGH, (f"model {rollout.plan.model} is not in fleet.yaml",))
        mark = _mark(rollout, work, golden)
        progress = _restored(before, mark)
        judge = None if golden.judge is None else JudgeClient(golden.judge)
        try:
            await self._ask(_Set(driver, rollout.plan, golden, judge), progress)
        finally:
            if judge is not None:
                await judge.close()
        return _finding(rollout.plan, golden, progress, mark)

    async def _ask(self, asked: _Set, progress: Progress) -> None:
        ends_at = self._monotonic() + SLICE_S
        free = asyncio.Semaphore(OPEN)
        allowed = len(asked.golden.prompts) - _needed(asked.golden)

        async def one(index: int) -> None:
            try:
                result = await asked.result(index)
            except (NotSent, NoJudgement) as error:
                progress.misses += 1
                progress.unknown = f"{asked.golden.prompts[index].name}: {error}"
            else:
                progress.results[index] = result
            finally:
                free.release()

        async with asyncio.TaskGroup() as tasks:
            for index in range(len(asked.golden.prompts)):
                if index in progress.results:
                    continue
                await free.acquire()
                if self._monotonic() >= ends_at or progress.failed > allowed or progress.misses >= MISSES:
                    return
                tasks.create_task(one(index))
                await self._sleep(EACH_S)


@dataclass(frozen=True)
class _Set:
    """A golden set, and the versions that are asked."""

    driver: Driver
    plan: Plan
    golden: Golden
    judge: JudgeClient | None

    async def result(self, index: int) -> Result:
        """Ask the candidate, and the stable version what the candidate fails. Raises NotSent and NoJudgement."""
        prompt = self.golden.prompts[index]
        backend = self.plan.backends[index % len(self.plan.backends)]
        fault = await self._fault(backend, self.plan.to_version, prompt)
        return Result(fault, await self._of_stable(backend, prompt)) if fault else Result()

    async def _fault(self, backend: str, version: str, prompt: GoldenPrompt) -> str:
        """Return what is wrong with a version's answers; "" when every server's answer is as expected."""
        question = Question(prompt.path, prompt.body, 200, prompt.timeout_s)
        answer = await self.driver.ask(backend, version, question)
        if answer.fault and not answer.replies:
            answer = await self.driver.ask(backend, version, question)  # one lost connection is not the model's
        if answer.fault:
            return answer.fault
        if not answer.replies:
            raise NotSent("the driver of this model does not show answers, so nothing can be expected of them")
        for text in dict.fromkeys(_texts(answer)):
            fault = await asyncio.to_thread(missing, prompt.expected, text)
            if not fault and prompt.expected.judged and self.judge is not None:
                judged = await self.judge.judge(prompt.expected.judged, text)
                fault = "fails the judge's criterion" if judged is Judgement.FAIL else ""
            if fault:
                return f"the answer {fault}{self._excerpt(text)}"
        return ""

    async def _of_stable(self, backend: str, prompt: GoldenPrompt) -> str:
        version = self.plan.from_version
        try:
            fault = await self._fault(backend, version, prompt)
        except (NotSent, NoJudgement) as error:
            return f"{version} could not be asked: {error}"
        return f"{version} fails it too" if fault else ""

    def _excerpt(self, text: str) -> str:
        most = self.golden.excerpt_characters
        return f' ("{plain(text[:most])}{"…" if len(text) > most else ""}")' if most else ""


def _texts(answer: Answer) -> list[str]:
    return [said(reply.body).text for reply in answer.replies]


def _needed(golden: Golden) -> int:
    """Return the number of prompts that must hold. A ratio of 0.95 of 30 prompts needs 29."""
    return math.ceil(golden.pass_ratio * len(golden.prompts) - 1e-9)


def _finding(plan: Plan, golden: Golden, progress: Progress, mark: str) -> Finding:
    total, done, failed = len(golden.prompts), len(progress.results), progress.failed
    needed = _needed(golden)
    held = done - failed
    outcome = Outcome.FAIL if failed > total - needed else Outcome.PASS if held >= needed else Outcome.NOT_ENOUGH
    sample = Sample(
        "golden",
        "ratio",
        held / done if done else None,
        None,
        float(done),
        0.0,
        outcome=outcome,
        dry_run=golden.dry_run,
    )
    reasons = [_summary(plan, golden, progress, outcome)]
    names = ((golden.prompts[index].name, result) for index, result in sorted(progress.results.items()))
    reasons += [f"{n}: {r.fault}{f'; {r.stable}' if r.stable else ''}" for n, r in names if r.fault][:SHOWN]
    more = total - done if outcome is Outcome.NOT_ENOUGH else None
    return Finding(outcome, tuple(reasons), (sample,), more_requests=more, carry=_carry(progress, mark))


def _summary(plan: Plan, golden: Golden, progress: Progress, outcome: Outcome) -> str:
    total, done, failed = len(golden.prompts), len(progress.results), progress.failed
    of = f"{done} of {total} prompts" if done < total else f"{total} prompt{'' if total == 1 else 's'}"
    if outcome is Outcome.NOT_ENOUGH:
        why = f"; {progress.unknown}" if progress.unknown else ""
        return f"{of} of the golden set were asked, {failed} failed{why}"
    share = f"at least {100 * golden.pass_ratio:g}% must hold"
    return f"{plan.to_version} fails {failed} of {of} of the golden set ({share})"


def _mark(rollout: Rollout, work: Work, golden: Golden) -> str:
    """Return a mark of the set in this step, so that results of another one are not taken over."""
    content = repr((rollout.id, work.step, golden.prompts, golden.judge))
    return sha256(content.encode()).hexdigest()[:16]


def _carry(progress: Progress, mark: str) -> str:
    results = {str(index): [result.fault, result.stable] for index, result in progress.results.items()}
    return json.dumps({"set": mark, "results": results})


def _restored(before: Finding | None, mark: str) -> Progress:
    """Return the progress that a finding carries. A carry that cannot be read counts as none."""
    try:
        kept = json.loads(before.carry) if before is not None else {}
        if kept.get("set") != mark:
            return Progress()
        return Progress(
            {int(index): Result(str(fault), str(stable)) for index, (fault, stable) in kept["results"].items()}
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Progress()
