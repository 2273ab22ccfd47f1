"""Answers to clicks: they reach only Slack, and survive what Slack does to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.slack.answers import Answers
from tests.fakes.slack import FakeSlack, running

URL = "https://hooks.slack.com/actions/T1/1/x"


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[FakeSlack, Answers, list[float], str]]:
    """Yield the fake, the answers, their waits, and an address for an answer to a click of U1."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with running() as slack:
        button = {"type": "button", "action_id": "a.b", "value": "v", "text": {"text": "A"}}
        message = {"ts": "1.1", "channel": "C1", "text": "", "blocks": [{"type": "actions", "elements": [button]}]}
        answers = Answers(slack.url, lambda: 0.0, sleep)
        yield slack, answers, waits, slack.app.payload("U1", message, "a.b")["response_url"]
        await answers.close()


async def test_text_is_escaped_line_by_line_and_bounded() -> None:
    async with answering() as (slack, answers, _, url):
        await answers.say(url, "v1 -> <v2> & more\nsecond\rline")
        await answers.say(url, 5000 * "x")
    (_, first), (_, second) = slack.app.answers
    assert first == "v1 -&gt; &lt;v2&gt; &amp; more\nsecond line"
    assert len(second) == 3000


@pytest.mark.parametrize(
    ("faults", "waits", "arrives"),
    [
        ([], [], True),
        (["429:7"], [7.0], True),
        (["429"], [1.0], True),
        (["429:100000"], [60.0], True),
        (["500", "503"], [1.0, 4.0], True),
        (["500", "500", "500", "500"], [1.0, 4.0, 16.0], False),
        (["404"], [], False),
    ],
)
async def test_an_answer_is_tried_again_where_that_can_help(
    faults: list[str], waits: list[float], arrives: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering() as (slack, answers, waited, url):
        slack.app.answer_faults += faults
        await answers.say(url, "done")
    assert waited == waits
    assert slack.app.answers == ([("U1", "done")] if arrives else [])
    assert ("an answer could not be sent: HTTP" in caplog.text) is not arrives
    assert url not in caplog.text, "the address is a secret"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://hooks.slack.com/actions/1",
        "https://hooks.slack.com.evil.example/actions/1",
        "https://evilslack.com/1",
        "https://slack.com@evil.example/1",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://[::1",
    ],
)
async def test_no_other_host_than_slacks_gets_an_answer(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers("https://slack.com/api/", lambda: 0.0)
    await answers.say(url, "done")
    assert answers._session is None, "no connection was made"
    assert "without an address of Slack" in caplog.text
    await answers.close()


def test_slacks_own_hosts_are_allowed() -> None:
    answers = Answers("https://slack.com/api/", lambda: 0.0)
    assert all(answers._allowed(url) for url in (URL, "https://hooks.slack-gov.com/a", "https://slack.com/x"))
