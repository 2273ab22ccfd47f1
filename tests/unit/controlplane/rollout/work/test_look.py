"""Looks as timelines: real series, looks a minute apart, exact outcomes, numbers and sentences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.errors import QueryError, Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.options import Analysis, Comparison, Metric, Options, Threshold
from controlplane.rollout.work import look as looks
from controlplane.rollout.work.look import PERIODS, LookWorker
from controlplane.rollout.work.top_up import TopUpCounts
from tests.unit.controlplane.metrics.conftest import load

BEGAN = 600.0
"""Minute 10: the candidate's first request of a client."""
ERRORS = Comparison(Metric.ERRORS, 0.005)
TTFT = Comparison(Metric.TTFT, 0.05)


class Series:
    """Queries over series in promtool's notation, one sample a minute from 0."""

    def __init__(self, *lines: str) -> None:
        self._engine: PromqlEngine = load("\n".join(lines))
        self.fault: Exception | None = None
        self.asked: list[tuple[str, float]] = []

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        self.asked.append((expr, at))
        if self.fault is not None:
            raise self.fault
        return self._engine.instant(expr, at)


def counter(values: str, version: str = "v2", outcome: str = "success", source: str = "gateway", **more: str) -> str:
    labels = {"model": "chat", "version": version, "source": source, "outcome": outcome, "instance": "gw:1", **more}
    return f"llm_requests_total{{{matchers(labels)}}} {values}"


def matchers(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def rollout(*comparisons: Comparison, minimum: int = 100, **more: object) -> Rollout:
    analysis = Analysis(comparisons=comparisons or (ERRORS,), minimum_requests=minimum, **more)  # type: ignore[arg-type]
    plan = Plan(
        "chat",
        "v1",
        "v2",
        RolloutKind.PROMOTE,
        "canary",
        ("gateway",),
        True,
        "{}",
        RolloutLimits(60, 60, 5),
        (),
        (),
        options=Options(analysis=analysis),
    )
    return Rollout(
        "r-1", plan, Phase.SWITCHING, "so far", "ann", 0, 0, 100, traffic_since=BEGAN, weight_since=BEGAN
    )  # fmt: skip


async def look(
    series: Series, of: Rollout, minute: float, before: Finding | None = None, sent: TopUpCounts | None = None
) -> Finding:
    worker = LookWorker(series, lambda: minute * 60, lambda rollout_id: sent)
    return await worker.run(of, Work(WorkKind.LOOK, 3), minute * 60, before)


async def several(series: Series, of: Rollout, *minutes: float) -> Finding:
    found = None
    for minute in minutes:
        found = await look(series, of, minute, found)
    assert found is not None
    return found


STABLE = (counter("0+990x30", "v1"), counter("0+10x30", "v1", "error"))
"""A thousand requests a minute, of which 1% fail."""


async def test_a_candidate_like_the_stable_version_passes_with_the_numbers_it_rests_on() -> None:
    series = Series(*STABLE, counter("_x9 0+99x20"), counter("_x9 0+1x20", outcome="error"))
    found = await several(series, rollout(), 11, 12, 13)
    assert found.outcome is Outcome.PASS
    assert found.reasons == ("v2 fails 1% of 300 requests, v1 1% of 3,000: no difference (limit 0.5 points)",)
    (sample,) = found.samples
    assert (sample.metric, sample.candidate, sample.stable) == ("errors", 0.01, 0.01)
    assert (sample.candidate_requests, sample.stable_requests, sample.fails_at) == (300, 3000, 100)
    assert sample.evidence is not None and sample.evidence < 1
    assert (found.more_requests, found.enough_at) == (None, None)


async def test_a_candidate_that_fails_is_found_at_the_first_look() -> None:
    series = Series(*STABLE, counter("_x9 0+60x20"), counter("_x9 0+40x20", outcome="timeout"))
    found = await look(series, rollout(), 11)
    assert found.outcome is Outcome.FAIL
    assert found.reasons == ("v2 fails 40% of 100 requests, v1 1% of 1,000: worse by 39 points (limit 0.5)",)


async def test_evidence_adds_up_over_looks() -> None:
    series = Series(*STABLE, counter("_x9 0+95x20"), counter("_x9 0+5x20", outcome="cut"))
    outcomes = []
    found = None
    for minute in (11, 12, 13):
        found = await look(series, rollout(), minute, found)
        outcomes.append(found.outcome)
    assert outcomes == [Outcome.PASS, Outcome.FAIL, Outcome.FAIL]


async def test_too_few_requests_say_how_many_are_missing_and_when_there_are_enough() -> None:
    series = Series(*STABLE, counter("_x9 0+20x20"))
    found = await several(series, rollout(), 11, 12)
    assert found.outcome is Outcome.NOT_ENOUGH
    assert (found.more_requests, found.enough_at) == (60, 12 * 60 + 180)
    assert found.reasons == (
        "v2 has had 40 of the 100 requests that this weight needs; at the present rate there are enough in 3 minutes",
    )


async def test_no_request_yet_has_no_time() -> None:
    found = await look(Series(*STABLE, counter("_x9 0+0x20")), rollout(), 11)
    assert (found.outcome, found.more_requests, found.enough_at) == (Outcome.NOT_ENOUGH, 100, None)
    assert found.reasons == (
        "v2 has had 0 of the 100 requests that this weight needs, so it is not known when there will be enough",
    )


async def test_a_fault_is_found_before_there_are_enough_requests() -> None:
    series = Series(*STABLE, counter("_x9 0+2x20"), counter("_x9 0+8x20", outcome="error"))
    assert (await look(series, rollout(), 11)).outcome is Outcome.FAIL


async def test_requests_of_an_earlier_weight_do_not_count() -> None:
    series = Series(*STABLE, counter("_x9 0+60x20"))
    second = replace(rollout(), weight_since=12.5 * 60)
    found = await several(series, rollout(), 11, 12)
    assert found.outcome is Outcome.PASS
    found = await look(series, second, 13, found)
    assert (found.outcome, found.more_requests) == (Outcome.NOT_ENOUGH, 100), "the weight changed in this interval"
    found = await several_from(series, second, found, 14, 15)
    assert found.outcome is Outcome.PASS
    assert found.samples[0].candidate_requests == 300, "the comparison is over all of them"


async def several_from(series: Series, of: Rollout, found: Finding, *minutes: float) -> Finding:
    for minute in minutes:
        found = await look(series, of, minute, found)
    return found


async def test_a_repeated_look_finds_the_same() -> None:
    series = Series(*STABLE, counter("_x9 0+99x20"), counter("_x9 0+1x20", outcome="error"))
    first = await look(series, rollout(), 11)
    assert await look(series, rollout(), 12, first) == await look(series, rollout(), 12, first)


# counters


async def test_a_reset_counts_from_nothing_and_not_below() -> None:
    """The gateway restarts in minute 13: both versions' counters begin again."""
    series = Series(
        counter("0+990x12 990+990x10", "v1"),
        counter("0+10x12 10+10x10", "v1", "error"),
        counter("_x9 0+99x2 99+99x10"),
        counter("_x9 0+1x2 1+1x10", outcome="error"),
    )
    found = await several(series, rollout(), 11, 12, 13, 14)
    assert (found.samples[0].candidate_requests, found.samples[0].stable_requests) == (400, 4000)


async def test_a_counter_that_appears_late_counts_from_nothing() -> None:
    """Engines expose `error` with the first error. increase() would lose it."""
    series = Series(counter("0+1000x30", "v1"), counter("_x9 0+60x20"), counter("_x10 40+40x20", outcome="error"))
    found = await look(series, rollout(), 11)
    assert (found.outcome, found.samples[0].candidate) == (Outcome.FAIL, 0.4)


async def test_a_gap_of_a_target_is_no_traffic_that_came_at_once() -> None:
    """gw:2 has counted a million requests of v1; it is not scraped when the first look is taken."""
    gap = "_x13 1001400+100x10"
    series = Series(*STABLE, counter("_x9 0+100x20"), counter(gap, "v1", instance="gw:2"))
    found = await several(series, rollout(), 11, 12, 13, 14, 15)
    assert found.samples[0].stable_requests == 5000 + 200, "from its first value on"


async def test_a_gap_between_two_looks_is_made_up_for() -> None:
    series = Series(
        *STABLE, counter("_x9 0+100x20"), counter("0+50x11 _x7 950+50x10", "v1", instance="gw:2"),
    )  # fmt: skip
    found = await several(series, rollout(), 11, 18, 19)
    assert found.samples[0].stable_requests == 9000 + 450


async def test_the_candidates_earlier_rollout_does_not_count() -> None:
    series = Series(*STABLE, counter("5000x9 5000+100x20"), counter("700x30", outcome="error"))
    found = await look(series, rollout(), 11)
    assert (found.outcome, found.samples[0].candidate) == (Outcome.PASS, 0)


async def test_copies_and_synthetic_requests_do_not_count() -> None:
    series = Series(
        *STABLE,
        counter("_x9 0+100x20", traffic="client"),
        counter("_x9 0+900x20", outcome="error", traffic="mirror"),
        counter("_x9 0+900x20", outcome="error", traffic="synthetic"),
    )
    found = await look(series, rollout(), 11)
    assert (found.outcome, found.samples[0].candidate_requests) == (Outcome.PASS, 100)


async def test_versions_whose_names_are_patterns_are_names() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20", "v2.1"), counter("_x9 0+900x20", "v2x1", "error"))
    of = rollout()
    of = replace(of, plan=replace(of.plan, to_version="v2.1"))
    assert (await look(series, of, 11)).samples[0].candidate_requests == 100


# sources


async def test_both_versions_are_read_from_the_source_that_is_nearest_to_the_client() -> None:
    engine = (counter("0+5000x30", "v1", source="engine"), counter("_x9 0+500x20", source="engine"))
    series = Series(*STABLE, counter("_x9 0+100x20"), *engine)
    found = await look(series, rollout(), 11)
    assert (found.samples[0].candidate_requests, found.samples[0].stable_requests) == (100, 1000)


async def test_a_source_that_counts_nothing_stands_back() -> None:
    silent = (counter("0x30", "v1"), counter("_x9 0x20"))
    engine = (counter("0+5000x30", "v1", source="engine"), counter("_x9 0+500x20", source="engine"))
    found = await look(Series(*silent, *engine), rollout(), 11)
    assert (found.samples[0].candidate_requests, found.samples[0].stable_requests) == (500, 5000)


async def test_a_source_that_vanishes_holds_the_rollout_and_is_not_replaced() -> None:
    engine = (counter("0+5000x30", "v1", source="engine"), counter("_x9 0+500x20", source="engine"))
    series = Series(
        counter("0+1000x12 stale _x5 19000+1000x5", "v1"), counter("_x9 0+100x3 stale _x5 900+100x5"), *engine
    )
    found = await several(series, rollout(minimum=1), 11, 12)
    assert found.outcome is Outcome.PASS
    found = await look(series, rollout(minimum=1), 14, found)
    assert found.outcome is Outcome.NOT_ENOUGH
    assert found.reasons == ("the gateway's llm_requests_total cannot be read now: errors is not compared",)
    found = await look(series, rollout(minimum=1), 19, found)
    assert (found.outcome, found.samples[0].candidate_requests) == (Outcome.PASS, 800), "nothing is lost"


async def test_an_engine_without_outcomes_has_requests_but_no_share_of_errors() -> None:
    series = Series(
        counter("0+1000x30", "v1", "unknown", "engine"), counter("_x9 0+100x20", outcome="unknown", source="engine")
    )
    found = await look(series, rollout(), 11)
    assert (found.outcome, found.samples) == (Outcome.PASS, ())
    assert found.reasons == ("errors is not compared: no source has counted any requests",)


async def test_without_any_metric_it_waits_and_says_so() -> None:
    found = await look(Series('up{job="x"} 1x30'), rollout(), 11)
    assert (found.outcome, found.more_requests) == (Outcome.NOT_ENOUGH, 100)
    assert found.reasons == ("no source has counted a request to chat; 100 to v2 are needed",)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Unavailable("metrics server http://p:9090: no route to host"),
            "metrics server http://p:9090: no route to host",
        ),
        (QueryError("timeout", "query timed out"), "query timed out"),
    ],
)
async def test_a_metrics_server_that_is_away_holds_and_the_next_look_goes_on(fault: Exception, words: str) -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"))
    first = await look(series, rollout(), 11)
    series.fault = fault
    away = await look(series, rollout(), 12, first)
    assert away.outcome is Outcome.NOT_ENOUGH
    assert away.reasons[0].startswith("the numbers are not known: ") and words in away.reasons[0]
    assert away.carry == first.carry
    series.fault = None
    found = await look(series, rollout(), 13, away)
    assert found.samples[0].candidate_requests == 300, "no request is lost"


async def test_a_metrics_server_that_hangs_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(looks, "LOOK_S", 0.01)
    found = await LookWorker(Hanging(), lambda: 660.0).run(rollout(), Work(WorkKind.LOOK, 3), 660.0, None)
    assert (found.outcome, found.reasons) == (
        Outcome.NOT_ENOUGH,
        ("the numbers are not known: they could not be read within 0.01 s",),
    )


async def test_a_carry_of_another_release_begins_anew() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"))
    for carry in ("", "{", "[]", '{"format": 9}', json.dumps({"format": 1})):
        found = await look(series, rollout(), 12, Finding(Outcome.PASS, (), carry=carry))
        assert found.samples[0].candidate_requests == 200, carry


async def test_a_rollout_without_analysis_has_nothing_to_look_at() -> None:
    of = rollout()
    of = replace(of, plan=replace(of.plan, options=Options()))
    assert (await look(Series(*STABLE), of, 11)).outcome is Outcome.NOT_ENOUGH


# histograms and answers


def buckets(
    version: str, counts: dict[str, int], begins: int = 0, name: str = "llm_time_to_first_token_seconds", **more: str
) -> list[str]:
    """Return the buckets of a histogram that grow by `counts` (cumulative) a minute from minute `begins`."""
    labels = {"model": "chat", "version": version, "instance": "gw:1", **more}
    if name.startswith("llm_"):
        labels["source"] = "engine"
    text = matchers(labels)
    lead = f"_x{begins - 1} " if begins else ""
    return [f'{name}_bucket{{{text},le="{le}"}} {lead}0+{n}x30' for le, n in counts.items()]


USUAL = {"0.1": 100, "0.25": 700, "0.5": 950, "1.0": 990, "+Inf": 1000}
SLOW = {"0.1": 2, "0.25": 32, "0.5": 77, "1.0": 97, "+Inf": 100}


async def test_a_slow_first_token_fails() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"), *buckets("v1", USUAL), *buckets("v2", SLOW, 10))
    found = await several(series, rollout(ERRORS, TTFT), 11, 12)
    assert found.outcome is Outcome.FAIL
    assert found.reasons == (
        "the median time to first token of v2 is 0.35 s over 200 first tokens, that of v1 0.2 s over 2,000: "
        "v2 is slower in 71.6% of pairs (limit 55%)",
    )
    assert [s.outcome for s in found.samples] == [Outcome.PASS, Outcome.FAIL]


async def test_in_dry_run_it_is_only_reported() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"), *buckets("v1", USUAL), *buckets("v2", SLOW, 10))
    found = await several(series, rollout(ERRORS, replace(TTFT, dry_run=True)), 11, 12)
    assert (found.outcome, found.samples[1].outcome) == (Outcome.PASS, Outcome.FAIL)
    assert found.reasons[-1].endswith("of pairs (limit 55%) (dry run)")


async def test_the_gateways_own_histogram_is_compared_by_length_of_prompt() -> None:
    """The candidate gets only long prompts: slower on the whole, and equal in each stratum."""
    own = "controlplane_gateway_answer_first_token_seconds"
    long = {le: n * 10 for le, n in SLOW.items()}
    series = Series(
        *STABLE,
        counter("_x9 0+100x20"),
        *buckets("v1", USUAL, name=own, traffic="client", prompt="0-512"),
        *buckets("v1", long, name=own, traffic="client", prompt="4097-32768"),
        *buckets("v2", SLOW, 10, name=own, traffic="client", prompt="4097-32768"),
        *buckets("v2", {le: n * 99 for le, n in SLOW.items()}, 10, name=own, traffic="mirror", prompt="0-512"),
        *buckets("v1", USUAL),
        *buckets("v2", SLOW, 10),
    )
    found = await several(series, rollout(TTFT), *range(11, 21))
    assert found.outcome is Outcome.PASS
    assert found.samples[0].effect == pytest.approx(0)
    assert found.samples[0].candidate_requests == 1000


async def test_gaps_between_tokens_count_as_half_as_many_as_requests() -> None:
    gaps = "llm_inter_token_latency_seconds"
    each = {le: n * 100 for le, n in SLOW.items()}
    series = Series(
        counter("0+1000x30", "v1", source="engine"),
        counter("_x9 0+100x20", source="engine"),
        *buckets("v1", {le: n * 100 for le, n in USUAL.items()}, name=gaps),
        *buckets("v2", each, 10, name=gaps),
    )
    found = await look(series, rollout(Comparison(Metric.INTER_TOKEN, 0.05)), 11)
    assert found.samples[0].candidate_requests == pytest.approx(50), "not 10,000 gaps"


def answers(version: str, values: str, finish: str = "stop") -> str:
    labels = f'model="chat",version="{version}",traffic="client",prompt="0-512",finish="{finish}",instance="gw:1"'
    return f"controlplane_gateway_answers_total{{{labels}}} {values}"


def without(version: str, what: str, values: str) -> str:
    labels = f'model="chat",version="{version}",traffic="client",prompt="0-512",instance="gw:1"'
    return f"controlplane_gateway_{what}_answers_total{{{labels}}} {values}"


async def test_truncated_empty_and_refused_answers_are_shares_of_answers() -> None:
    series = Series(
        *STABLE,
        counter("_x9 0+100x20"),
        answers("v1", "0+900x30"),
        answers("v1", "0+100x30", "length"),
        without("v1", "empty", "0+10x30"),
        without("v1", "refused", "0+20x30"),
        answers("v2", "_x9 0+50x30"),
        answers("v2", "_x9 0+50x30", "length"),
        without("v2", "empty", "_x9 0+1x30"),
    )
    wanted = [Comparison(metric, 0.02) for metric in (Metric.TRUNCATED, Metric.EMPTY, Metric.REFUSED)]
    found = await look(series, rollout(*wanted), 11)
    assert [(s.metric, s.candidate, s.stable, s.outcome) for s in found.samples] == [
        ("truncated", 0.5, 0.1, Outcome.FAIL),
        ("empty", 0.01, 0.01, Outcome.PASS),
        ("refused", 0, 0.02, Outcome.PASS),
    ]


async def test_an_engines_reasons_tell_truncated_answers() -> None:
    series = Series(
        counter("0+900x30", "v1", source="engine", reason="stop"),
        counter("0+100x30", "v1", source="engine", reason="length"),
        counter("0+500x30", "v1", "error", "engine", reason="error"),
        counter("_x9 0+60x20", source="engine", reason="stop"),
        counter("_x9 0+40x20", source="engine", reason="length"),
    )
    found = await look(series, rollout(Comparison(Metric.TRUNCATED, 0.02)), 11)
    assert (found.samples[0].candidate, found.samples[0].stable) == (0.4, 0.1)


async def test_a_metric_that_nothing_measures_is_left_out_and_said() -> None:
    found = await look(Series(*STABLE, counter("_x9 0+100x20")), rollout(ERRORS, TTFT), 11)
    assert (found.outcome, len(found.samples)) == (Outcome.PASS, 1)
    assert found.reasons[-1] == "ttft is not compared: no source has counted any first tokens"


async def test_a_candidate_without_any_first_token_is_a_reason_to_wait() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"), *buckets("v1", USUAL))
    found = await look(series, rollout(ERRORS, TTFT), 11)
    assert found.outcome is Outcome.NOT_ENOUGH
    assert found.reasons == ("v2 had 100 requests but no first tokens were counted; v1 had 1,000 of 1,000",)


async def test_few_streams_are_no_reason_to_wait() -> None:
    few = {"0.5": 20, "+Inf": 20}
    series = Series(*STABLE, counter("_x9 0+100x20"), *buckets("v1", few))
    found = await look(series, rollout(ERRORS, TTFT), 11)
    assert found.outcome is Outcome.PASS
    assert found.reasons[-1].startswith("ttft is not compared yet: v2 and v1 have had no first tokens")


# synthetic requests


def sent(v2_failed: int = 0, times: int = 1, slow: bool = False) -> TopUpCounts:
    """Return 40 prompts that both versions got, `times` times."""
    counts = TopUpCounts(40 * times)
    for version in ("v1", "v2"):
        found = counts.of(version)
        found.asked, found.failed = 40 * times, v2_failed * times if version == "v2" else 0
        found.finishes = {"stop": found.asked - found.failed}
        found.first_s[20 if slow and version == "v2" else 10] = found.asked - found.failed
    return counts


async def test_synthetic_requests_count_for_the_minimum_and_are_compared_with_each_other() -> None:
    series = Series(*STABLE, counter("_x9 0+30x20"))
    found = await look(series, rollout(), 11, sent=sent())
    assert (found.outcome, found.more_requests) == (Outcome.NOT_ENOUGH, 30)
    assert found.reasons[0].startswith(
        "v2 has had 70 of the 100 requests that this weight needs (40 of them synthetic); at the present rate"
    )
    assert (found.samples[0].candidate_requests, found.samples[0].stable_requests) == (70, 1040)
    found = await look(series, rollout(), 12, found, sent(times=2))
    assert found.outcome is Outcome.PASS
    assert found.reasons[-1] == "80 of the 140 requests to v2 at this weight are synthetic"


async def test_synthetic_requests_that_fail_are_found() -> None:
    series = Series(*STABLE, counter("_x9 0+1x20"))
    found = await look(series, rollout(), 11, sent=sent(v2_failed=30))
    assert found.outcome is Outcome.FAIL
    assert found.samples[0].candidate == pytest.approx(30 / 41)


async def test_after_a_crash_synthetic_requests_are_counted_once() -> None:
    series = Series(*STABLE, counter("_x9 0+1x20"))
    found = await look(series, rollout(), 11, sent=sent())
    found = await look(series, rollout(), 12, found, None)
    found = await look(series, rollout(), 13, found, sent(times=2))
    assert found.samples[0].candidate_requests == 3 + 80


async def test_without_any_request_of_a_client_synthetic_ones_are_compared() -> None:
    silent = Series(counter("0x30", "v1"), counter("_x9 0x20"))
    found = await look(silent, rollout(ERRORS, TTFT, minimum=40), 11, sent=sent())
    assert (found.outcome, found.samples[0].candidate_requests) == (Outcome.PASS, 40)
    found = await look(silent, rollout(ERRORS, TTFT, minimum=40), 12, found, sent(times=3, slow=True))
    assert [sample.outcome for sample in found.samples] == [Outcome.PASS, Outcome.FAIL]


async def test_a_source_of_clients_is_chosen_without_synthetic_requests() -> None:
    """Only the engine counts clients; synthetic requests come first and must not make the gateway the source."""
    engine = (counter("_x12 0+5000x20", "v1", source="engine"), counter("_x12 0+500x20", source="engine"))
    series = Series(counter("0x30", "v1"), counter("_x9 0x20"), *engine)
    found = await look(series, rollout(), 11, sent=sent())
    found = await several_from(series, rollout(), found, 12, 13, 14)
    assert found.samples[0].candidate_requests == 40 + 1000


# thresholds

RATE = 'rate(llm_time_to_first_token_seconds_bucket{version="{{version}}"}[{{window}}])'
P99 = f"histogram_quantile(0.99, sum by (le) ({RATE}))"


@pytest.mark.parametrize(
    ("threshold", "outcome", "words"),
    [
        (Threshold("calm", "vector(3)", at_most=5), Outcome.PASS, ""),
        (Threshold("hot", "vector(3)", at_most=2), Outcome.FAIL, "threshold hot is 3, above its limit of 2"),
        (Threshold("low", "vector(3)", at_least=4.5), Outcome.FAIL, "threshold low is 3, below its limit of 4.5"),
        (Threshold("one", "3", at_most=2), Outcome.FAIL, "threshold one is 3, above its limit of 2"),
        (Threshold("away", "nothing", at_most=2), Outcome.NOT_ENOUGH, "threshold away has no value now"),
        (Threshold("nan", "vector(NaN)", at_most=2), Outcome.NOT_ENOUGH, "threshold nan has no value now"),
        (Threshold("dry", "vector(3)", at_most=2, dry_run=True), Outcome.PASS, ""),
        (
            Threshold("worst", 'sum by (outcome) (llm_requests_total{version="{{stable}}"})', at_most=1000),
            Outcome.FAIL,
            "threshold worst is 10,890, above its limit of 1,000",
        ),
        (
            Threshold("typo", "{{typo}}", at_most=2),
            Outcome.NOT_ENOUGH,
            "threshold typo cannot be evaluated: {{typo}} is not known here; "
            "known are {{model}}, {{version}}, {{stable}}, {{window}}",
        ),
        (Threshold("range", "llm_requests_total[5m]", at_most=2), Outcome.NOT_ENOUGH, "threshold range cannot be"),
    ],
)
async def test_thresholds(threshold: Threshold, outcome: Outcome, words: str) -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"))
    found = await look(series, rollout(thresholds=(threshold,)), 11)
    assert found.outcome is outcome
    assert found.samples[-1].metric == f"threshold {threshold.name}"
    assert found.reasons[0].startswith(words)


async def test_a_threshold_on_the_candidates_latency_is_a_template() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"), *buckets("v2", SLOW, 10))
    found = await look(series, rollout(interval_s=300.0, thresholds=(Threshold("p99", P99, at_most=0.9),)), 15)
    assert found.outcome is Outcome.FAIL
    assert [expr for expr, _ in series.asked if 'version="v2"}[5m]' in expr]


# size


def reads(series: Series) -> Callable[[], int]:
    return lambda: len(series.asked)


async def test_the_first_look_reads_the_past_and_later_ones_read_once() -> None:
    series = Series(*STABLE, counter("_x9 0+100x20"))
    first = await look(series, rollout(), 11)
    assert [at / 60 for _, at in series.asked] == [11, *range(10 - PERIODS, 11)]
    series.asked.clear()
    await look(series, rollout(), 12, first)
    assert [at / 60 for _, at in series.asked] == [12]


async def test_of_very_many_targets_only_sums_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST_CELLS", 5)
    lines = [counter("0+10x30", "v1", instance=f"gw:{n}") for n in range(50)]
    series = Series(*lines, counter("_x9 0+100x20"))
    found = await several(series, rollout(), 11, 12)
    assert (found.outcome, found.samples[0].stable_requests) == (Outcome.PASS, 1000)
    assert len(found.carry) < 2500
