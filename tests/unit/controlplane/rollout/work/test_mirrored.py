"""Mirrored answers as timelines: real series, the copies from minute 10 to 20, exact outcomes and sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.errors import Unavailable
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Rollout
from controlplane.rollout.options import Analysis, Comparison, Metric
from controlplane.rollout.work.mirrored import COPIES, MirroredWorker
from tests.fakes.planned import planned
from tests.unit.controlplane.rollout.work.test_look import Series, counter, matchers

BEGAN, ENDS = 600.0, 1200.0
ALL = tuple(Comparison(m, 0.01) for m in (Metric.ERRORS, Metric.TRUNCATED, Metric.EMPTY, Metric.REFUSED))
STABLE = (counter("0+990x30", "v1"), counter("0+10x30", "v1", "error"))


def own(name: str, values: str, version: str, traffic: str = "mirror", **labels: str) -> str:
    given = {"model": "chat", "version": version, "instance": "gw:1", "traffic": traffic, "prompt": "0-512", **labels}
    return f"controlplane_gateway_{name}{{{matchers(given)}}} {values}"


def copies(values: str, outcome: str = "success") -> str:
    return (
        f"{COPIES}{{{matchers({'model': 'chat', 'version': 'v2', 'instance': 'gw:1', 'outcome': outcome})}}} {values}"
    )


def answers(ends: dict[str, int], stable: dict[str, int]) -> tuple[str, ...]:
    """Return answers a minute by their end: to copies from minute 10 on, and of the stable version's clients."""
    ours = tuple(own("answers_total", f"_x9 0+{number}x20", "v2", finish=end) for end, number in ends.items())
    return ours + tuple(own("answers_total", f"0+{n}x30", "v1", "client", finish=end) for end, n in stable.items())


def rollout(*comparisons: Comparison, minimum: int = 100) -> Rollout:
    analysis = Analysis(comparisons=comparisons or ALL, minimum_requests=minimum)
    return replace(planned(analysis=analysis), held_since=BEGAN)


async def found(series: Series, of: Rollout | None = None, at: float = ENDS) -> Finding:
    worker = MirroredWorker(series, lambda: at)
    return await worker.run(of or rollout(), Work(WorkKind.MIRRORED, 3), at, None)


async def test_a_candidate_that_answers_alike_passes_with_the_numbers_it_rests_on() -> None:
    series = Series(
        *STABLE,
        *(copies("_x9 0+99x20"), copies("_x9 0+1x20", "error")),
        *answers({"stop": 90, "length": 9}, {"stop": 900, "length": 90}),
    )
    finding = await found(series, rollout(ALL[0], ALL[1]))
    assert finding.outcome is Outcome.PASS
    assert finding.reasons == (
        "v2 fails 1% of 1,000 requests, v1 1% of 10,000: no difference (limit 1 point)",
        "v2 truncates 9.1% of 990 answers, v1 9.1% of 9,900: no difference (limit 1 point)",
    )
    assert [sample.metric for sample in finding.samples] == ["errors", "truncated"]
    assert {sample.fails_at for sample in finding.samples} == {2000.0}, "ten times that of a look"


async def test_copies_that_fail_are_the_candidates_fault() -> None:
    series = Series(*STABLE, copies("_x9 0+60x20"), copies("_x9 0+40x20", "timeout"))
    finding = await found(series, rollout(ALL[0]))
    assert finding.outcome is Outcome.FAIL
    assert finding.reasons == ("v2 fails 40% of 1,000 requests, v1 1% of 10,000: worse by 39 points (limit 1)",)


@pytest.mark.parametrize(
    ("ours", "metric", "words"),
    [
        (answers({"length": 60, "stop": 39}, {"stop": 990}), "truncated", "v2 truncates"),
        ((own("empty_answers_total", "_x9 0+60x20", "v2"),), "empty", "v2 leaves empty"),
        ((own("refused_answers_total", "_x9 0+60x20", "v2"),), "refused", "v2 refuses"),
    ],
)
async def test_answers_of_another_kind_fail(ours: tuple[str, ...], metric: str, words: str) -> None:
    alike = () if metric == "truncated" else answers({"stop": 99}, {"stop": 990})
    stable = tuple(own(f"{each}_answers_total", "0x30", "v1", "client") for each in ("empty", "refused"))
    finding = await found(Series(*STABLE, copies("_x9 0+99x20"), *alike, *stable, *ours))
    assert finding.outcome is Outcome.FAIL
    assert [s.metric for s in finding.samples if s.outcome is Outcome.FAIL] == [metric]
    assert finding.reasons[0].startswith(f"{words} 60.6% of 990 answers, v1 0% of")


def lengths(version: str, traffic: str, values: str, short: str) -> tuple[str, ...]:
    return tuple(
        own("answer_tokens_bucket", of, version, traffic, le=le)
        for le, of in (("50.0", short), ("500.0", values), ("+Inf", values))
    )


async def test_answers_of_another_length_fail_whichever_way() -> None:
    tokens = Comparison(Metric.OUTPUT_TOKENS, 0.1)
    stable = lengths("v1", "client", "0+990x30", "0+500x30")
    for short in ("_x9 0+5x20", "_x9 0+95x20"):
        ours = lengths("v2", "mirror", "_x9 0+99x20", short)
        finding = await found(Series(*STABLE, copies("_x9 0+99x20"), *stable, *ours), rollout(tokens))
        assert finding.outcome is Outcome.FAIL and finding.samples[0].metric == "output-tokens"
    alike = lengths("v2", "mirror", "_x9 0+99x20", "_x9 0+50x20")
    assert (
        await found(Series(*STABLE, copies("_x9 0+99x20"), *stable, *alike), rollout(tokens))
    ).outcome is Outcome.PASS


async def test_clients_requests_to_the_candidate_and_copies_to_the_stable_version_do_not_count() -> None:
    series = Series(
        *STABLE,
        copies("_x9 0+100x20"),
        counter("_x9 0+900x20", "v2", "error"),
        own("answers_total", "_x9 0+900x20", "v2", "client", finish="length"),
        own("answers_total", "_x9 0+900x20", "v1", "mirror", finish="stop"),
        *answers({"stop": 99}, {"stop": 990}),
    )
    finding = await found(series, rollout(ALL[0], ALL[1]))
    assert finding.outcome is Outcome.PASS
    assert [(s.candidate_requests, s.stable_requests) for s in finding.samples] == [(1000, 10000), (990, 9900)]


async def test_copies_before_the_step_do_not_count() -> None:
    series = Series(*STABLE, copies("0+100x30"), copies("0+90x9 900x21", "error"))
    finding = await found(series, rollout(ALL[0]))
    assert (finding.outcome, finding.samples[0].candidate_requests) == (Outcome.PASS, 1000)


async def test_too_few_copies_say_how_many_are_missing() -> None:
    finding = await found(Series(*STABLE, copies("_x9 0+4x20")), rollout(ALL[0]))
    assert (finding.outcome, finding.more_requests) == (Outcome.NOT_ENOUGH, 60)
    assert finding.reasons[0] == "v2 has had 40 of the 100 copies of requests"


async def test_no_copy_and_no_numbers_are_never_a_failure() -> None:
    assert (await found(Series(*STABLE))).outcome is Outcome.NOT_ENOUGH
    series = Series(*STABLE)
    series.fault = Unavailable("connection refused")
    finding = await found(series)
    assert (finding.outcome, finding.reasons) == (
        Outcome.NOT_ENOUGH,
        ("the numbers are not known: connection refused",),
    )


async def test_what_the_gateway_does_not_count_is_left_out() -> None:
    """A model that writes no text, such as Triton's infer, is compared by its errors alone."""
    finding = await found(Series(*STABLE, copies("_x9 0+99x20"), copies("_x9 0+1x20", "error")))
    assert finding.outcome is Outcome.PASS and [s.metric for s in finding.samples] == ["errors"]
    assert "empty is not compared: v2 and v1 have had no answers at the same time yet" in finding.reasons


async def test_a_dry_run_is_only_reported() -> None:
    series = Series(*STABLE, copies("_x9 0+60x20"), copies("_x9 0+40x20", "timeout"))
    finding = await found(series, rollout(replace(ALL[0], dry_run=True)))
    assert finding.outcome is Outcome.PASS and finding.reasons[-1].endswith("(dry run)")


async def test_without_an_analysis_the_usual_metrics_are_compared() -> None:
    series = Series(*STABLE, copies("_x9 0+60x20"), copies("_x9 0+40x20", "timeout"))
    finding = await found(series, replace(planned(), held_since=BEGAN))
    assert finding.outcome is Outcome.FAIL and finding.samples[0].fails_at == 5000.0
