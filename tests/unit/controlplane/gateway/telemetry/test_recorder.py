"""What a worker counts of its requests, and what is left of it when the worker is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from controlplane.gateway.desired.document import BackendSpec, Desired, KeySpec, ModelSpec, TenantSpec, VersionSpec
from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Outcome
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry import recorder as module
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.lag import LoopLag
from controlplane.gateway.telemetry.recorder import WorkerRecorder, settle
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import BACKEND, record


class Worker:
    """A recorder on a region of its own, and what an exposition shows of it."""

    def __init__(self, memory: Area) -> None:
        self.meters = meters_of(memory, 5)
        self.journal: list[UsageRecord] = []
        self.recorder = WorkerRecorder(self.meters, self)
        self.exposition = exposition_of(memory)

    def append(self, one: UsageRecord) -> None:
        self.journal.append(one)

    def total(self, family: f.Family, *by: str) -> dict[tuple[str, ...], float]:
        return {key: value for key, value in self.exposition.totals(family, *by).items() if value}

    def counts(self, family: f.Family) -> str:
        return self.exposition.text().decode().partition(f"{family.name}_count")[2].split("\n")[0]


@pytest.fixture
def memory() -> Iterator[Area]:
    with shared_memory(AREA_BYTES) as area:
        yield area


@pytest.fixture
def worker(memory: Area) -> Worker:
    return Worker(memory)


def test_an_answered_request_counts_everywhere_once(worker: Worker) -> None:
    worker.recorder.began("chat", "v1", BACKEND)
    assert worker.total(f.RUNNING, "backend") == {(BACKEND,): 1.0}
    worker.recorder.gaps("chat", "v1")(0.05)
    worker.recorder.ended(record(queue_s=0.3), opened=True)

    assert worker.total(f.RUNNING) == {}
    assert worker.total(f.ATTEMPTS, "model", "version", "backend") == {("chat", "v1", BACKEND): 1.0}
    assert worker.total(f.REQUESTS, "model", "version", "backend", "outcome") == {
        ("chat", "v1", BACKEND, "success"): 1.0
    }
    assert worker.total(f.TOKENS, "type") == {("input",): 12.0, ("output",): 5.0, ("input_cached",): 4.0}
    assert worker.total(f.TENANT_REQUESTS, "tenant", "outcome") == {("acme", "success"): 1.0}
    assert worker.total(f.TENANT_TOKENS, "tenant", "type") == {("acme", "input"): 12.0, ("acme", "output"): 5.0}
    text = worker.exposition.text().decode()
    of = '{source="gateway",model="chat",version="v1"}'
    for name, total in (
        ("llm_request_duration_seconds", 1.0),
        ("llm_time_to_first_token_seconds", 0.2),
        ("llm_time_per_output_token_seconds", 0.2),
        ("llm_inter_token_latency_seconds", 0.05),
        ("llm_queue_duration_seconds", 0.3),
    ):
        assert f"{name}_sum{of} {total}\n{name}_count{of} 1.0\n" in text
    assert worker.journal == [record(queue_s=0.3)]


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome.OK, "success"),
        (Outcome.ERROR, "error"),
        (Outcome.TIMEOUT, "timeout"),
        (Outcome.REJECTED, "rejected"),
        (Outcome.CUT, "cut"),
        (Outcome.ABORTED, "aborted"),
    ],
)
def test_every_outcome_of_a_model_has_its_word(worker: Worker, outcome: Outcome, word: str) -> None:
    worker.recorder.ended(record(outcome=outcome), opened=False)
    assert worker.total(f.REQUESTS, "outcome") == {(word,): 1.0}


def test_an_invalid_request_never_counts_as_the_models(worker: Worker) -> None:
    worker.recorder.began("chat", "v1", BACKEND)
    worker.recorder.ended(record(outcome=Outcome.INVALID, status=400, reason="http_400"), opened=True)
    worker.recorder.ended(
        record(outcome=Outcome.INVALID, model="made-up", version="", backend="", reason="unknown_model"), opened=False
    )
    assert worker.total(f.REQUESTS) == {}
    assert worker.total(f.FAULTS) == {}
    assert worker.total(f.INVALID, "model", "version") == {("chat", "v1"): 1.0, ("", ""): 1.0}
    assert worker.total(f.REFUSALS, "model", "kind") == {("", "unknown_model"): 1.0}
    assert b"made-up" not in worker.exposition.text()


@pytest.mark.parametrize("kind", [RefusalKind.RATE_LIMITED, RefusalKind.BUDGET_SPENT])
def test_a_limit_of_the_callers_own_never_counts_as_the_models(worker: Worker, kind: RefusalKind) -> None:
    refused = record(outcome=Outcome.REJECTED, status=429, backend="", version="", first_s=None, reason=kind.word)
    worker.recorder.ended(refused, opened=False)
    assert worker.total(f.REQUESTS) == {}
    assert worker.total(f.REFUSALS, "model", "kind") == {("chat", kind.word): 1.0}
    assert worker.total(f.TENANT_REQUESTS, "tenant", "outcome") == {("acme", "rejected"): 1.0}
    assert worker.journal == [refused]


def test_a_full_queue_counts_as_the_models(worker: Worker) -> None:
    refused = record(outcome=Outcome.REJECTED, backend="", version="", queue_s=30.0, reason="overloaded", first_s=None)
    worker.recorder.ended(refused, opened=False)
    assert worker.total(f.REQUESTS, "model", "version", "outcome") == {("chat", "", "rejected"): 1.0}
    assert worker.total(f.REFUSALS, "model", "kind") == {("chat", "overloaded"): 1.0}


def test_a_request_without_a_tenant_is_not_in_the_journal(worker: Worker) -> None:
    worker.recorder.ended(record(tenant="", outcome=Outcome.INVALID, reason="unauthenticated"), opened=False)
    assert worker.journal == []
    assert worker.total(f.REFUSALS, "kind") == {("unauthenticated",): 1.0}


def test_durations_are_those_of_answers_and_a_timeout_is_longer_than_any_bound(worker: Worker) -> None:
    worker.recorder.ended(record(), opened=False)
    worker.recorder.ended(record(outcome=Outcome.ERROR, duration_s=0.001, first_s=None), opened=False)
    worker.recorder.ended(record(outcome=Outcome.TIMEOUT, duration_s=3.0, first_s=None), opened=False)
    text = worker.exposition.text().decode()
    bucket = 'llm_request_duration_seconds_bucket{source="gateway",model="chat",version="v1",le='
    assert f'{bucket}"0.75"}} 0.0\n' in text
    assert f'{bucket}"600.0"}} 1.0\n' in text
    assert f'{bucket}"+Inf"}} 2.0\n' in text
    first = 'llm_time_to_first_token_seconds_bucket{source="gateway",model="chat",version="v1",le='
    assert f'{first}"60.0"}} 1.0\n' in text
    assert f'{first}"+Inf"}} 2.0\n' in text


def test_a_retry_closes_the_attempt_and_the_request_counts_once(worker: Worker) -> None:
    worker.recorder.began("chat", "v1", "http://dead:1")
    worker.recorder.retried("chat", "v1", "http://dead:1", "connect")
    worker.recorder.began("chat", "v1", BACKEND)
    worker.recorder.ended(record(attempts=2), opened=True)
    assert worker.total(f.RUNNING) == {}
    assert worker.total(f.RETRIES, "backend", "reason") == {("http://dead:1", "connect"): 1.0}
    assert worker.total(f.ATTEMPTS, "backend") == {("http://dead:1",): 1.0, (BACKEND,): 1.0}
    assert worker.total(f.REQUESTS, "outcome") == {("success",): 1.0}


def test_the_attempt_that_lost_a_hedge_is_no_retry(worker: Worker) -> None:
    worker.recorder.began("chat", "v1", "http://slow:1")
    worker.recorder.hedged("chat", "v1")
    worker.recorder.began("chat", "v1", BACKEND)
    worker.recorder.retried("chat", "v1", "http://slow:1", module.LOST_HEDGE)
    worker.recorder.ended(record(), opened=True)
    assert worker.total(f.RUNNING) == {}
    assert worker.total(f.RETRIES) == {}
    assert worker.total(f.HEDGES) == {(): 1.0}


def test_a_cut_answer_counts_its_tokens(worker: Worker) -> None:
    worker.recorder.ended(record(outcome=Outcome.CUT, completion_tokens=7, reason="cut"), opened=False)
    assert worker.total(f.CUT_TOKENS, "backend") == {(BACKEND,): 7.0}
    assert worker.total(f.FAULTS, "reason") == {("cut",): 1.0}


def test_what_is_beside_requests_is_counted(worker: Worker) -> None:
    counters = worker.recorder
    counters.connections(3)
    counters.connections(-1)
    counters.waiting("chat", 2)
    counters.ejected("chat", "v1", BACKEND, out=True)
    counters.mirrored("chat", "v2", Outcome.ERROR)
    counters.cached("chat", hit=True)
    counters.cached("chat", hit=False)
    counters.applied("chat", 12)
    worker.recorder.ended(record(degraded_from="large", estimated=True), opened=False)
    assert worker.total(f.CONNECTIONS) == {(): 2.0}
    assert worker.total(f.WAITING, "model") == {("chat",): 2.0}
    assert worker.total(f.EJECTED, "backend") == {(BACKEND,): 1.0}
    assert worker.total(f.EJECTIONS, "backend") == {(BACKEND,): 1.0}
    assert worker.total(f.MIRRORED, "version", "outcome") == {("v2", "error"): 1.0}
    assert worker.total(f.CACHE, "result") == {("hit",): 1.0, ("miss",): 1.0}
    assert worker.total(f.GENERATION, "model") == {("chat",): 12.0}
    assert worker.total(f.DEGRADED, "model", "degraded_from") == {("chat", "large"): 1.0}
    assert worker.total(f.ESTIMATED, "model") == {("chat",): 1.0}
    counters.ejected("chat", "v1", BACKEND, out=False)
    assert worker.total(f.EJECTED) == {}


def desired(*tenants: str) -> Desired:
    version = VersionSpec("v1", 1000, (BackendSpec(BACKEND, "vllm", "llama"),))
    return Desired(
        "r1",
        models=(ModelSpec("chat", 1, (version,)),),
        keys=(KeySpec("k1", "00", "zulu"),),
        tenants=tuple(TenantSpec(name) for name in tenants),
    )


def test_expected_series_exist_at_zero_before_the_first_failure(worker: Worker) -> None:
    worker.recorder.expect(desired())
    text = worker.exposition.text().decode()
    where = f'source="gateway",model="chat",version="v1",backend="{BACKEND}"'
    for word in ("success", "error", "timeout", "rejected", "cut", "aborted"):
        assert f'llm_requests_total{{{where},outcome="{word}"}} 0.0\n' in text
    assert 'controlplane_gateway_refusals_total{model="chat",kind="overloaded"} 0.0\n' in text
    assert 'controlplane_gateway_tenant_tokens_total{tenant="zulu",type="input"} 0.0\n' in text
    assert 'llm_request_duration_seconds_count{source="gateway",model="chat",version="v1"} 0.0\n' in text


def test_tenants_beyond_the_limit_are_other(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TENANTS", 3)
    worker.recorder.expect(desired("acme", "beta"))
    for tenant in ("acme", "late-1", "late-2", "late-1", "zulu"):
        worker.recorder.ended(record(tenant=tenant), opened=False)
    assert worker.total(f.TENANT_REQUESTS, "tenant") == {("acme",): 1.0, ("zulu",): 1.0, ("other",): 3.0}


def test_a_tenant_keeps_its_name_in_the_next_worker(memory: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TENANTS", 1)
    Worker(memory).recorder.ended(record(tenant="first"), opened=False)
    after = Worker(memory)
    after.recorder.ended(record(tenant="second"), opened=False)
    after.recorder.ended(record(tenant="first"), opened=False)
    assert after.total(f.TENANT_REQUESTS, "tenant") == {("first",): 2.0, ("other",): 1.0}


def test_reasons_beyond_the_limit_are_other(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REASONS", 2)
    for reason in ("http_500", "http_501", "http_502", "http_500"):
        worker.recorder.ended(record(outcome=Outcome.ERROR, reason=reason), opened=False)
    assert worker.total(f.FAULTS, "reason") == {("http_500",): 2.0, ("http_501",): 1.0, ("other",): 1.0}


_KILLED = """
import mmap, os, signal, sys
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry.columns import AREA_BYTES, meters_of
from controlplane.gateway.telemetry.recorder import WorkerRecorder
fd = int(sys.argv[1])
area = Area(memoryview(mmap.mmap(fd, AREA_BYTES)), fd, 0)
recorder = WorkerRecorder(meters_of(area, 5))
recorder.connections(3)
for _ in range(2):
    recorder.began("chat", "v1", "http://a:1")
recorder.began("chat", "v2", "http://b:1")
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_worker(memory: Area) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(memory.fd)], pass_fds=[memory.fd], check=False)
    assert done.returncode == -signal.SIGKILL


def test_requests_of_a_killed_worker_count_as_cut_once(memory: Area) -> None:
    kill_a_worker(memory)
    after = Worker(memory)
    expected = {("chat", "v1", "http://a:1", "cut"): 2.0, ("chat", "v2", "http://b:1", "cut"): 1.0}
    assert after.total(f.REQUESTS, "model", "version", "backend", "outcome") == expected
    assert after.total(f.LOST) == {(): 3.0}
    assert after.total(f.RUNNING) == after.total(f.CONNECTIONS) == {}
    # The next incarnation after an orderly end counts nothing again.
    again = Worker(memory)
    assert again.total(f.REQUESTS, "model", "version", "backend", "outcome") == expected


def test_a_dead_workers_generation_holds_nothing_up(memory: Area) -> None:
    for column in (0, 1):
        WorkerRecorder(meters_of(memory, column)).applied("chat", 4 * column)
    assert exposition_of(memory).totals(f.GENERATION, "model") == {("chat",): 0.0}
    settle(meters_of(memory, 0))
    assert exposition_of(memory).totals(f.GENERATION, "model") == {("chat",): 4.0}
    settle(meters_of(memory, 1))
    assert b"controlplane_gateway_generation" not in exposition_of(memory).text()
    WorkerRecorder(meters_of(memory, 0)).applied("chat", 5)
    assert exposition_of(memory).totals(f.GENERATION, "model") == {("chat",): 5.0}


def test_the_supervisor_settles_a_worker_that_nobody_follows(memory: Area) -> None:
    kill_a_worker(memory)
    assert settle(meters_of(memory, 5)) == 3
    assert exposition_of(memory).totals(f.LOST) == {(): 3.0}
    assert settle(meters_of(memory, 5)) == 0


async def test_the_lag_of_a_loop_is_measured_until_it_is_closed(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    second = asyncio.Event()
    seen: list[float] = []

    def observe(seconds: float) -> None:
        seen.append(seconds)
        worker.recorder.lag(seconds)
        if len(seen) == 2:
            second.set()

    lag = LoopLag(loop, observe)
    lag.start()
    await asyncio.wait_for(second.wait(), 30)
    lag.close()
    assert all(seconds >= 0.0 for seconds in seen)
    assert "controlplane_gateway_loop_lag_seconds_count 2.0\n" in worker.exposition.text().decode()
