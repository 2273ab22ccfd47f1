"""Following a control plane, on a virtual clock: what is asked, applied, waited and said."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.gateway.backoff import Backoff
from controlplane.gateway.desired.codec import encode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired
from controlplane.gateway.process.state import following
from controlplane.gateway.process.state.following import REPORT_S, Follower, Reporter
from controlplane.remote_client import Reply
from tests.fakes.gateway_control_plane import desired_of
from tests.patience import until

ONE, TWO = desired_of(1, v1=(1000, "http://a:1")), desired_of(2, v1=(1000, "http://b:1"))
AWAY = Unavailable("http://cp cannot be reached: connection refused")


def reply(status: int, body: bytes = b"") -> Reply:
    return Reply(status, "application/json", body)


def state(desired: Desired) -> Reply:
    return reply(200, encode(desired))


class Server:
    """Gives scripted answers, one a request."""

    name = "http://cp"

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.sent: list[dict[str, Any]] = []

    async def request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        assert path == ("cp/v1/gateways/desired" if method == "GET" else "cp/v1/gateways/report")
        if params is not None:
            self.asked.append(dict(params))
        if body is not None:
            self.sent.append(json.loads(body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    """A follower, with the waits that it makes and the states that it applies."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.server = Server(*answers)
        self.waits: list[float] = []
        self.applied: list[str] = []
        self.refuse = ""
        self.follower = Follower(
            self.server, "gw", "cp", self.apply, backoff=Backoff(0.5, 10.0, lambda: 1.0), sleep=self.sleep
        )

    async def apply(self, desired: Desired, origin: str) -> None:
        if desired.revision == self.refuse:
            raise BadDesired("no room")
        self.applied.append(desired.revision)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(self) -> None:
        while self.server.answers:
            await self.follower.turn()


async def test_each_answer_is_applied_and_the_next_question_waits_for_a_change() -> None:
    world = World(state(ONE), reply(204), state(TWO))
    await world.run()
    assert world.applied == [ONE.revision, TWO.revision]
    assert [asked["revision"] for asked in world.server.asked] == ["", ONE.revision, ONE.revision]
    assert world.server.asked[0] == {"name": "gw", "revision": "", "wait": "25"}
    assert world.waits == []


async def test_waits_grow_while_the_control_plane_is_away_and_begin_anew_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World(AWAY, AWAY, TimeoutError("no answer"), state(ONE), AWAY, reply(204))
    await world.run()
    assert world.waits == [0.5, 1.0, 2.0, 0.5]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "desired state: http://cp cannot be reached: connection refused; the one in force stays",
        "desired state: no answer; the one in force stays",
        "desired state: works again",
        "desired state: http://cp cannot be reached: connection refused; the one in force stays",
        "desired state: works again",
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(401, b'{"detail": "no token"}'), "answers 401 to cp/v1/gateways/desired: no token; check the token"),
        (reply(403), "its token needs the role gateway"),
        (reply(404), "is that address a control plane of this version?"),
        (reply(500, b"<html>"), "answers 500 to cp/v1/gateways/desired: no reason"),
        (reply(200, b"{}"), "cp gave one that is refused: format"),
    ],
)
async def test_a_useless_answer_keeps_the_state_and_says_the_cure(answer: Reply, words: str) -> None:
    world = World(state(ONE), answer)
    await world.run()
    assert world.applied == [ONE.revision]
    assert words in world.follower.said.fault
    assert world.waits == [0.5]


async def test_a_refused_state_is_not_fetched_again_before_it_changes() -> None:
    world = World(state(ONE), state(TWO), reply(204), state(ONE))
    world.refuse = TWO.revision
    for _ in range(3):
        await world.follower.turn()
    assert world.server.asked[2]["revision"] == TWO.revision
    assert world.follower.said.fault == "cp gave one that is refused: no room"  # an unchanged answer is no cure
    await world.follower.turn()
    assert world.follower.said.fault == ""


class Reports:
    """A reporter, and the shares that it got."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.server = Server(*answers)
        self.shares: list[dict[str, float]] = []
        self.spent: list[dict[str, float]] = []
        self.reporter = Reporter(
            self.server,
            lambda: {"name": "gw"},
            lambda shares: self.shares.append(dict(shares)),
            lambda spent: self.spent.append(dict(spent)),
            asyncio.Event(),
            backoff=Backoff(0.5, 10.0, lambda: 1.0),
        )


async def test_a_report_brings_shares_within_zero_and_one() -> None:
    world = Reports(reply(200, b'{"shares": {"key/a": 0.25, "*": 7, "key/b": -1}}'))
    assert await world.reporter.turn() == REPORT_S
    assert world.server.sent == [{"name": "gw"}]
    assert world.shares == [{"key/a": 0.25, "*": 1.0, "key/b": 0.0}]


async def test_a_report_brings_what_was_spent_before() -> None:
    world = Reports(
        reply(200, b'{"shares": {}, "spent": {"key/a/daily_tokens": 5, "key/b/daily_usd": -1}}'),
        reply(200, b'{"shares": {}, "spent": {}}'),
        reply(200, b'{"shares": {}}'),
        reply(200, b'{"shares": {}, "spent": {"key/a/daily_tokens": "much"}}'),
    )
    assert [await world.reporter.turn() for _ in range(4)] == [REPORT_S, REPORT_S, REPORT_S, 0.5]
    assert world.spent == [{"key/a/daily_tokens": 5.0, "key/b/daily_usd": 0.0}]


@pytest.mark.parametrize(
    "answer", [AWAY, reply(503), reply(200, b"{}"), reply(200, b'{"shares": [1]}'), reply(200, b"<")]
)
async def test_without_an_answer_the_shares_stay(answer: Reply | Exception) -> None:
    world = Reports(answer, answer, reply(200, b'{"shares": {}}'), answer)
    assert [await world.reporter.turn() for _ in range(4)] == [0.5, 1.0, REPORT_S, 0.5]
    assert world.shares == [{}]


async def test_a_change_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "REPORT_S", 3600.0)
    changed = asyncio.Event()
    server = Server(*[reply(200, b'{"shares": {}}')] * 3)
    running = asyncio.create_task(Reporter(server, dict, lambda shares: None, lambda spent: None, changed).run())
    await until(lambda: len(server.sent) == 1)
    changed.set()
    await until(lambda: len(server.sent) == 2)
    running.cancel()
