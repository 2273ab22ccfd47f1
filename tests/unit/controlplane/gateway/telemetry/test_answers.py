"""Whole answers are counted by the stratum of their prompt, apart for clients and for copies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.gateway.request import Content, Finish, Outcome, TokenCounts
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.exposition import Exposition
from controlplane.gateway.telemetry.recorder import WorkerRecorder
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import record

SAID = Content(Finish.STOP, said=True)
BY = ("model", "version", "traffic", "prompt", "finish")


@pytest.fixture
def memory() -> Iterator[Area]:
    with shared_memory(AREA_BYTES) as area:
        yield area


@pytest.fixture
def recorder(memory: Area) -> WorkerRecorder:
    return WorkerRecorder(meters_of(memory, 5))


@pytest.fixture
def shown(memory: Area) -> Exposition:
    return exposition_of(memory)


def total(shown: Exposition, family: f.Family, *by: str) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in shown.totals(family, *by).items() if value}


@pytest.mark.parametrize(
    ("tokens", "stratum"),
    [
        (None, "0-512"),
        (0, "0-512"),
        (512, "0-512"),
        (513, "513-4096"),
        (4096, "513-4096"),
        (4097, "4097-32768"),
        (32_768, "4097-32768"),
        (32_769, "32769-"),
        (10**9, "32769-"),
    ],
)
def test_the_stratum_of_a_prompt(recorder: WorkerRecorder, shown: Exposition, tokens: int | None, stratum: str) -> None:
    recorder.ended(record(prompt_tokens=tokens, content=SAID), opened=False)
    assert total(shown, f.ANSWERS, *BY) == {("chat", "v1", "client", stratum, "stop"): 1.0}


@pytest.mark.parametrize("finish", Finish)
def test_every_end_has_its_word(recorder: WorkerRecorder, shown: Exposition, finish: Finish) -> None:
    recorder.ended(record(content=Content(finish, said=True)), opened=False)
    assert total(shown, f.ANSWERS, "finish") == {(finish.value,): 1.0}
    assert total(shown, f.EMPTY) == total(shown, f.REFUSED) == {}


def test_an_empty_answer_and_a_refusal(recorder: WorkerRecorder, shown: Exposition) -> None:
    recorder.ended(record(content=Content(Finish.STOP)), opened=False)
    recorder.ended(record(content=Content(Finish.CONTENT_FILTER, said=True, refused=True)), opened=False)
    recorder.ended(record(content=SAID), opened=False)
    assert total(shown, f.ANSWERS, "finish") == {("stop",): 2.0, ("content_filter",): 1.0}
    assert total(shown, f.EMPTY, "version", "prompt") == {("v1", "0-512"): 1.0}
    assert total(shown, f.REFUSED, "version", "prompt") == {("v1", "0-512"): 1.0}


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_only_whole_answers_count(recorder: WorkerRecorder, shown: Exposition, outcome: Outcome) -> None:
    recorder.ended(record(outcome=outcome, content=SAID), opened=False)
    recorder.ended(record(content=None), opened=False)
    assert shown.totals(f.ANSWERS) == {}
    assert total(shown, f.REQUESTS) == ({(): 1.0} if outcome is Outcome.INVALID else {(): 2.0})


def histogram(shown: Exposition, family: f.Family, traffic: str) -> tuple[dict[str, float], float]:
    """Return the cumulative counts by upper bound where they rise, and the sum."""
    of = f'{{model="chat",version="v1",traffic="{traffic}",prompt="0-512"'
    rises: dict[str, float] = {}
    amount = 0.0
    for line in shown.text().decode().splitlines():
        if line.startswith(f"{family.name}_bucket{of}"):
            bound, count = line.partition('le="')[2].split('"} ')
            if float(count) != (list(rises.values()) or [0.0])[-1]:
                rises[bound] = float(count)
        elif line.startswith(f"{family.name}_sum{of}"):
            amount = float(line.rpartition(" ")[2])
    return rises, amount


def test_the_times_and_the_length_of_a_streamed_answer(recorder: WorkerRecorder, shown: Exposition) -> None:
    recorder.ended(record(content=SAID, streamed=True, first_s=0.2, duration_s=1.0, completion_tokens=5), opened=False)
    assert histogram(shown, f.ANSWER_FIRST, "client") == ({"0.2": 1.0}, 0.2)
    assert histogram(shown, f.ANSWER_DURATION, "client") == ({"1.0": 1.0}, 1.0)
    assert histogram(shown, f.EACH_TOKEN, "client") == ({"0.2": 1.0}, 0.2)
    assert histogram(shown, f.ANSWER_TOKENS, "client") == ({"5.0": 1.0}, 5.0)


def test_an_answer_that_was_no_stream_has_no_first_token(recorder: WorkerRecorder, shown: Exposition) -> None:
    recorder.ended(record(content=SAID, first_s=0.9, duration_s=1.0, completion_tokens=None), opened=False)
    assert histogram(shown, f.ANSWER_FIRST, "client") == histogram(shown, f.EACH_TOKEN, "client") == ({}, 0.0)
    assert histogram(shown, f.ANSWER_DURATION, "client") == ({"1.0": 1.0}, 1.0)
    assert histogram(shown, f.ANSWER_TOKENS, "client") == ({}, 0.0), "unknown is not zero"


def test_a_copy_counts_apart_and_nowhere_else(recorder: WorkerRecorder, shown: Exposition) -> None:
    recorder.mirrored("chat", "v2", Outcome.OK)
    recorder.mirrored_answer("chat", "v2", Content(Finish.LENGTH), TokenCounts(600, 7), None, 0.4)
    assert total(shown, f.ANSWERS, *BY) == {("chat", "v2", "mirror", "513-4096", "length"): 1.0}
    assert total(shown, f.EMPTY, "traffic") == {("mirror",): 1.0}
    for family in (f.REQUESTS, f.TOKENS, f.TENANT_REQUESTS, f.ATTEMPTS):
        assert total(shown, family) == {}


def test_a_stratum_without_an_answer_has_no_series(recorder: WorkerRecorder, shown: Exposition) -> None:
    recorder.ended(record(content=SAID), opened=False)
    assert len(shown.totals(f.ANSWERS, *BY)) == len(Finish)
    assert set(shown.totals(f.ANSWER_TOKENS, "prompt")) == {("0-512",)}
