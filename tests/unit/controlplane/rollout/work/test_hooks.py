"""Hooks over real sockets: what is sent, what counts as success, and receivers that hang, lie, flood and die."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.target import Auth
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits, Step, StepKind
from controlplane.rollout.options import Hook, Moment, Options
from controlplane.rollout.work.hooks import ATTEMPTS, HookWorker, document
from tests.fakes.hook_server import HookServer, breaks_off, dies, floods, hangs, lies, status
from tests.patience import HANG_S

STEPS = (
    Step(StepKind.BRING_UP, weight=0.0),
    Step(StepKind.HOOK, moment=Moment.SWITCH),
    Step(StepKind.SHIFT, weight=1.0),
)


def rollout(hook: Hook) -> Rollout:
    limits, options = RolloutLimits(1, 1, 1), Options(hooks=(hook,))
    plan = Plan(
        "chat", "v1", "v2", RolloutKind.PROMOTE, "canary", ("b",), True, "{}", limits, STEPS, (), options=options
    )
    return Rollout("r-7", plan, Phase.PREPARING, "v2 is warm", "ann", 100.0, 200.0, 150.0, step=1)


class Calls:
    """Runs a hook, and remembers its waits instead of waiting."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def __call__(self, url: str, timeout_s: float = HANG_S, auth: Auth | None = None, **fields: Any) -> Finding:
        hook = Hook("backup", Moment.SWITCH, url, timeout_s, auth=auth)
        work = Work(WorkKind.HOOK, 1, "backup")
        return await HookWorker(self._sleep).run(replace(rollout(hook), **fields), work, 100.0, None)


@pytest.fixture
def call() -> Calls:
    return Calls()


async def test_a_hook_gets_the_rollout_as_json(call: Calls) -> None:
    async with HookServer([status("204 No Content")]) as server:
        finding = await call(server.url)
    assert finding == Finding(Outcome.PASS, (f"hook backup: {server.url} answered 204",))
    (request,) = server.requests
    assert request.start == "POST /hook HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "r-7.1.switch.backup"
    assert request.json == {
        "hook": "backup",
        "moment": "switch",
        "idempotency_key": "r-7.1.switch.backup",
        "rollout": "r-7",
        "model": "chat",
        "from_version": "v1",
        "to_version": "v2",
        "kind": "promote",
        "strategy": "canary",
        "step": 1,
        "steps": 3,
        "weight": 0.0,
        "phase": "preparing",
        "sentence": "v2 is warm",
        "started_by": "ann",
        "started_at": 100.0,
    }


def test_before_the_first_share_the_candidate_has_none_and_afterwards_the_plan_does_not_say() -> None:
    hook = Hook("backup", Moment.SWITCH, "http://h/")
    assert [document(rollout(hook), hook, step)["weight"] for step in (0, 1, 2)] == [0.0, 0.0, 1.0]
    unset = replace(rollout(hook).plan, steps=(Step(StepKind.HOOK), *STEPS))
    assert document(replace(rollout(hook), plan=unset), hook, 0)["weight"] == 0.0
    end = replace(hook, at=Moment.END)
    assert document(rollout(end), end, 2)["weight"] is None


async def test_a_hook_of_the_end_learns_how_the_rollout_ends(call: Calls) -> None:
    async with HookServer() as server:
        await call(server.url, ending=Phase.ROLLED_BACK)
    assert server.requests[0].json["phase"] == "rolled-back"


@pytest.mark.parametrize("first", [status("503 Busy"), status("429 Slow down"), dies, lies])
async def test_a_call_that_may_succeed_later_is_repeated_with_the_same_key(call: Calls, first: Any) -> None:
    # The client itself repeats a call whose connection died before an answer.
    answers = [first, first, status("200 OK")] if first is dies else [first, status("200 OK")]
    async with HookServer(answers) as server:
        assert (await call(server.url)).outcome is Outcome.PASS
    assert {request.headers["idempotency-key"] for request in server.requests} == {"r-7.1.switch.backup"}
    assert call.waits == [1.0]


async def test_a_repetition_after_a_crash_has_the_same_key(call: Calls) -> None:
    async with HookServer() as server:
        await call(server.url)
        await call(server.url, sentence="another sentence", updated_at=900.0)
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


async def test_a_receiver_that_stays_away_fails_after_three_calls(call: Calls) -> None:
    async with HookServer() as server:
        pass
    finding = await call(server.url)
    assert finding.outcome is Outcome.FAIL
    assert finding.reasons[0].startswith(f"hook backup failed, {ATTEMPTS} times: {server.url} cannot be reached: ")
    assert call.waits == [1.0, 3.0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status("400 Bad", b'{"message": "no ticket"}'), "failed: URL answered 400: no ticket"),
        (status("403 No", b"Authorization: Bearer geheim"), "failed: URL answered 403"),
        (status("403 No", b'{"message": 7}'), "failed: URL answered 403"),
        (status("403 No", b'{"message": "a\\nb\\u001b[31m"}'), "failed: URL answered 403: a b\\x1b[31m"),
        (status("403 No", b'{"message": "' + b"x" * 900 + b'"}'), f"failed: URL answered 403: {'x' * 200}"),
        (status("500 Broken"), "failed, 3 times: URL answered 500"),
        (
            status("302 Found", b"", "Location: http://other.example/?token=geheim"),
            "failed: URL redirects to other.example, and redirects are not followed; set the final address",
        ),
        (lies, "failed, 3 times: URL cannot be reached: the answer is not HTTP"),
    ],
)
async def test_every_other_answer_is_a_failure_in_words(call: Calls, answer: Any, said: str) -> None:
    async with HookServer([answer]) as server:
        finding = await call(server.url)
    assert finding == Finding(Outcome.FAIL, (f"hook backup {said.replace('URL', server.url)}",))


async def test_a_receiver_that_hangs_is_left_after_the_timeout(call: Calls) -> None:
    async with HookServer([hangs]) as server:
        finding = await call(server.url, timeout_s=0.05)
    assert finding.reasons == (f"hook backup failed, 3 times: {server.url} did not answer within 0.05s",)


@pytest.mark.parametrize("answer", [floods, breaks_off])
async def test_of_a_good_answer_only_the_status_counts(call: Calls, answer: Any) -> None:
    async with HookServer([answer]) as server, asyncio.timeout(HANG_S):
        assert (await call(server.url)).outcome is Outcome.PASS


async def test_a_secret_is_read_at_the_call_and_is_in_no_sentence(
    call: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOOK_KEY", "geheim")
    file = tmp_path / "key"
    async with HookServer([status("401 No", b'{"detail": "Bearer geheim"}')]) as server:
        finding = await call(server.url, auth=Auth(credentials_env="HOOK_KEY"))
        file.write_text("rotated\n")
        await call(server.url, auth=Auth(credentials_file=str(file)))
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer geheim", "Bearer rotated"]
        assert "geheim" not in finding.reasons[0] and "geheim" not in json.dumps(server.requests[0].json)
        monkeypatch.delenv("HOOK_KEY")
        missing = await call(server.url, auth=Auth(credentials_env="HOOK_KEY"))
    assert missing.reasons[0].endswith("the environment variable HOOK_KEY is not set or empty")
    assert len(server.requests) == 2, "without its secret the hook is not called"


async def test_a_key_in_the_address_is_in_no_sentence(call: Calls) -> None:
    async with HookServer([status("404 None")]) as server:
        finding = await call(f"{server.url}?key=geheim")
        assert server.requests[0].start == "POST /hook?key=geheim HTTP/1.1"
    assert finding.reasons == (f"hook backup failed: {server.url} answered 404",)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_the_certificate_of_the_receiver_is_checked(call: Calls, certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with HookServer(tls=tls) as server:
        assert "TLS certificate refused" in (await call(server.url)).reasons[0]
        assert server.requests == []
        assert (await call(server.url, auth=Auth(ca_file=str(certificate[0])))).outcome is Outcome.PASS
        assert (await call(server.url, auth=Auth(insecure_skip_verify=True))).outcome is Outcome.PASS


async def test_a_hook_that_the_plan_lacks_is_a_failure() -> None:
    hook = Hook("backup", Moment.SWITCH, "http://h/")
    finding = await HookWorker().run(rollout(hook), Work(WorkKind.HOOK, 1, "other"), 0.0, None)
    assert finding == Finding(Outcome.FAIL, ("the plan has no hook other",))
