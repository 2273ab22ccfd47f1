"""Lists of addresses from real HTTP servers: ones that lie, flood, redirect or hang, and the last good list."""

from __future__ import annotations

import asyncio
import http.server
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from collectors.discovery import http_following
from collectors.discovery.asking import Asker, ask_once
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.polling import Means
from collectors.target import Auth
from controlplane.app.targets.followers import followers
from tests.fakes.on_a_thread import serving
from tests.patience import HANG_S

GOOD = [{"targets": ["h:1", "h:2"], "labels": {"zone": "eu"}}]


@dataclass
class Answers:
    """What the server answers next, and the headers that it was asked with."""

    body: Any = field(default_factory=lambda: GOOD)
    type: str = "application/json"
    status: int = 200
    location: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def url(answers: Answers) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append({name.lower(): value for name, value in self.headers.items()})
            body = answers.body if isinstance(answers.body, bytes) else json.dumps(answers.body).encode()
            self.send_response(answers.status)
            if answers.location:
                self.send_header("Location", answers.location)
            self.send_header("Content-Type", answers.type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with serving(Handler) as server:
        yield f"http://{server}/list?key=s3cret"


class Asked:
    """A discovery of one server, with the next question on demand."""

    def __init__(self, sd: HttpSd, **group: Any) -> None:
        self.slept: list[float] = []
        self.changes = 0
        self._due, self._waits = asyncio.Event(), asyncio.Event()
        self.asker = Asker(self._changed, followers(Means(sleep=self._sleep, spread=lambda: 1.0)))
        self.discovery = Discovery([DiscoveryGroup("vllm", sd=(sd,), **group)])

    async def again(self) -> list[str]:
        """Let one question be asked and answered. Return the addresses of the targets."""
        self._waits.clear()
        self._due.set()
        await self.asker.apply(self.discovery.sources)
        async with asyncio.timeout(HANG_S):
            await self._waits.wait()
        return self.targets()

    def targets(self) -> list[str]:
        return [target.instance for target in self.discovery.refresh(self.asker.list_of)]

    def errors(self) -> list[str]:
        return [str(error) for error in self.discovery.errors]

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._due.clear()
        self._waits.set()
        await self._due.wait()

    def _changed(self) -> None:
        self.changes += 1


Ask = Callable[..., Awaitable[Asked]]


@pytest.fixture
async def ask(url: str) -> AsyncIterator[Ask]:
    made: list[Asked] = []

    async def start(**fields: Any) -> Asked:
        asked = Asked(replace(HttpSd(url), **fields))
        made.append(asked)
        assert asked.targets() == []
        assert asked.discovery.unanswered == asked.discovery.sources
        return asked

    yield start
    for each in made:
        await each.asker.close()


async def test_the_list_becomes_targets_and_changes_with_it(ask: Ask, answers: Answers, url: str) -> None:
    asked = await ask(refresh_interval_s=20, auth=Auth(inline="t0ken"))
    assert await asked.again() == ["h:1", "h:2"]
    assert (asked.errors(), asked.discovery.unanswered, asked.slept, asked.changes) == ([], (), [20], 1)
    headers = answers.asked[0]
    assert headers["accept"] == "application/json"
    assert headers["x-prometheus-refresh-interval-seconds"] == "20"
    assert headers["authorization"] == "Bearer t0ken"
    assert await asked.again() == ["h:1", "h:2"]
    assert asked.changes == 1
    answers.body = [{"targets": ["h:3"]}]
    assert await asked.again() == ["h:3"]
    answers.body, answers.type = [], 'Application/JSON; charset="utf-8"'
    assert await asked.again() == []
    assert (asked.errors(), asked.changes) == ([], 3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"status": 500}, "answered 500 Internal Server Error, expected 200"),
        ({"type": "text/html"}, "expected the Content-Type application/json, got 'text/html'"),
        ({"type": "application/json2"}, "expected the Content-Type application/json, got 'application/json2'"),
        ({"body": b"[\n{"}, "line 2 of the answer is not JSON: Expecting property name enclosed in double quotes"),
        ({"body": b"\xff"}, "the answer is not UTF-8 text"),
        ({"body": b"[" * 100_000}, "the answer cannot be parsed (RecursionError)"),
        ({"body": {}}, "expected a list of {targets, labels}"),
        ({"body": [None]}, "entry 1: expected a mapping with targets and labels"),
        ({"body": [{"target": []}]}, "entry 1: unknown field 'target'; known are targets and labels"),
        ({"body": [{"targets": [1]}]}, "entry 1: targets: expected a list of host:port"),
        ({"body": [{"targets": ["h"]}]}, "entry 1: 'h' is not host:port (the port cannot be left out)"),
        ({"body": b"[" + b" " * http_following.MAX_BODY_BYTES}, "the body has more than the 16777216 bytes allowed"),
    ],
)
async def test_a_bad_answer_keeps_the_last_good_list(
    ask: Ask, answers: Answers, url: str, bad: dict[str, Any], reason: str
) -> None:
    asked = await ask()
    await asked.again()
    for name, value in bad.items():
        setattr(answers, name, value)
    assert await asked.again() == ["h:1", "h:2"]
    place = url.partition("?")[0]
    (error,) = asked.errors()
    assert error.startswith(f"{place}: {reason}")
    vars(answers).update(vars(Answers(body=[{"targets": ["h:9"]}])))
    assert await asked.again() == ["h:9"]
    assert asked.errors() == []


async def test_a_redirect_to_another_server_is_not_followed(ask: Ask, answers: Answers) -> None:
    asked = await ask()
    await asked.again()
    answers.status, answers.location = 302, "http://127.0.0.1:1/other?token=s3cret"
    assert await asked.again() == ["h:1", "h:2"]
    (error,) = asked.errors()
    assert "redirect" in error and "s3cret" not in error


async def test_a_server_that_hangs_ends_at_the_deadline() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sd = HttpSd(f"http://127.0.0.1:{port}/", refresh_interval_s=0.05)
        found = await ask_once([sd], HANG_S, followers(Means()))
    assert str(found[sd].error) == f"http://127.0.0.1:{port}/: timed out after 0.05s (connected, no headers yet)"


async def test_a_change_of_credentials_or_interval_keeps_the_list(ask: Ask, url: str) -> None:
    asked = await ask()
    await asked.again()
    changed = Discovery([DiscoveryGroup("vllm", sd=(HttpSd(url, 5),))])
    assert [t.instance for t in changed.refresh(asked.asker.list_of)] == ["h:1", "h:2"]
    await asked.asker.apply(changed.sources)
    assert [t.instance for t in changed.refresh(asked.asker.list_of)] == ["h:1", "h:2"]


async def test_the_labels_of_the_list_and_its_url_reach_the_rules(ask: Ask, url: str) -> None:
    asked = Asked(HttpSd(url), of_prometheus=True, labels=(("zone", "us"), ("team", "a")))
    asked.targets()
    try:
        await asked.again()
        first = asked.discovery.refresh(asked.asker.list_of)[0]
    finally:
        await asked.asker.close()
    assert dict(first.labels) == {"zone": "eu", "team": "a"}
    assert dict(first.discovered)["__meta_url"] == url
