"""One suite for every kind of notifier, made from its section in fleet.yaml, against its receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from alerts.interfaces import Escalated, MessageRef, Notifier
from alerts.notify.alertmanager import AlertmanagerNotifier
from controlplane.app.notifying.recipes import recipe_of
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, OVER, RESOLVED, STORM
from tests.fakes import receivers
from tests.fakes.fleet_text import parse_fleet
from tests.fakes.mail_server import mail_server
from tests.fakes.receiver import Got, Reply, accepts, receiving
from tests.fakes.receivers import KEY, SECRET

OVER_HTTP: dict[str, tuple[Reply, str]] = {
    "webhook": (accepts, "url: 'URL/hook'"),
    "alertmanager": (accepts, "urls: ['URL']"),
    "feishu": (receivers.feishu, "url_env: RECEIVER, secret_env: SECRET"),
    "dingtalk": (receivers.dingtalk, "url_env: RECEIVER, secret_env: SECRET"),
    "wecom": (receivers.wecom, "url_env: RECEIVER"),
    "msteams": (receivers.msteams, "url_env: RECEIVER"),
    "slack_webhook": (receivers.slack_webhook, "url_env: RECEIVER"),
    "pagerduty": (receivers.pagerduty, "routing_key_env: KEY, url: 'URL'"),
    "opsgenie": (receivers.opsgenie, "api_key_env: KEY, url: 'URL'"),
}
QUERIES = {"dingtalk": f"/robot/send?access_token={KEY}", "wecom": f"/send?key={KEY}"}
KINDS = (*OVER_HTTP, "email", "command", "log")


class Place(NamedTuple):
    """A notifier, a count of what arrived, and the text of all of it."""

    notifier: Notifier
    arrived: Callable[[], int]
    text: Callable[[], str]


@asynccontextmanager
async def made(kind: str, fields: str) -> AsyncIterator[Notifier]:
    text = f"fleet: {{name: a}}\nnotifiers: [{{name: ops, type: {kind}, {fields}}}]\n"
    notifier = recipe_of(parse_fleet(text, Path("fleet.yaml")).notifiers[0]).made()
    try:
        yield notifier
    finally:
        await notifier.close()
        await notifier.close()


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Place]:
    kind: str = request.param
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("SECRET", SECRET)
    async with AsyncExitStack() as stack:
        if kind in OVER_HTTP:
            reply, fields = OVER_HTTP[kind]
            receiver = await stack.enter_async_context(receiving(reply))
            monkeypatch.setenv("RECEIVER", receiver.url + QUERIES.get(kind, f"/hook/{KEY}"))
            notifier = await stack.enter_async_context(made(kind, fields.replace("URL", receiver.url)))
            yield Place(notifier, lambda: len(receiver.taken), lambda: _text(receiver.taken))
        elif kind == "email":
            server = await stack.enter_async_context(mail_server())
            fields = f"host: 127.0.0.1, port: {server.port}, security: none, from: a@b, to: [c@d]"
            notifier = await stack.enter_async_context(made(kind, fields))
            yield Place(notifier, lambda: len(server.mails), lambda: "\n".join(_bodies(server.mails)))
        elif kind == "command":
            log = tmp_path / "log"
            fields = f"""command: [/bin/sh, -c, '{{ cat; echo; }} >> {log}']"""
            notifier = await stack.enter_async_context(made(kind, fields))
            written = partial(_content, log)
            yield Place(notifier, lambda: len(written().splitlines()), written)
        else:
            caplog.set_level("INFO", "alerts.notifications")
            notifier = await stack.enter_async_context(made(kind, ""))
            yield Place(notifier, lambda: len(caplog.records), lambda: caplog.text)


def _text(taken: Sequence[Got]) -> str:
    return "\n".join(orjson.dumps(got.json).decode() for got in taken)


def _bodies(mails: Sequence[EmailMessage]) -> Iterator[str]:
    for mail in mails:
        for part in mail.walk():
            if part.get_content_maintype() == "text":
                yield part.get_content()


def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def free(notifier: Any) -> None:
    """Forget what was sent, so that the next message need not wait for the receiver's limit."""
    if hasattr(notifier, "_pace"):
        notifier._pace._sent.clear()


async def test_a_group_from_its_first_message_to_its_last(place: Place) -> None:
    root: MessageRef | None = None
    for number, message in enumerate((FIRING, replace(FIRING, sequence=2), replace(RESOLVED, sequence=3)), start=1):
        free(place.notifier)
        ref = await place.notifier.send(message, root)
        assert ref is None or ref.note == ""
        root = root or (ref if ref and ref.place else None)
        assert place.arrived() == number
    again = replace(FIRING, generation=8)
    free(place.notifier)
    await place.notifier.send(again, None)
    assert place.arrived() == 4


async def test_notices_edits_and_anything_in_labels(place: Place) -> None:
    for number, message in enumerate((NOTICE, ATTACK, HUGE), start=1):
        free(place.notifier)
        ref = await place.notifier.send(message, None)
        assert ref is None or ref.note == "", "nothing was refused for its form"
        assert place.arrived() >= number
    before = place.arrived()
    assert await place.notifier.send(EDIT, MessageRef("somewhere")) is None
    assert place.arrived() == before


async def test_a_message_that_another_receiver_refused_says_so(place: Place) -> None:
    await place.notifier.send(replace(FIRING, undelivered="pager could not deliver it: wrong key"), None)
    assert place.arrived() == 1


async def test_an_escalation_says_which_step_it_is_and_why(place: Place) -> None:
    await place.notifier.send(replace(FIRING, escalated=Escalated(1, 2, 900.0)), None)
    assert "step 1 of 2: nobody had acknowledged it after 15m" in place.text().replace("\n", " ")


async def test_a_place_of_another_kind_is_no_obstacle(place: Place) -> None:
    await place.notifier.send(RESOLVED, MessageRef("C0000000001/1700000000.000001"))
    assert place.arrived() == 1


async def test_a_storm_and_its_end_without_an_alert(place: Place) -> None:
    for message in (STORM, OVER):
        free(place.notifier)
        before = place.arrived()
        ref = await place.notifier.send(message, None)
        assert ref is None or ref.note == "", "nothing was refused for its form"
        # An Alertmanager knows no groups: there is nothing to tell it.
        assert (place.arrived() > before) is not (message is OVER and isinstance(place.notifier, AlertmanagerNotifier))
