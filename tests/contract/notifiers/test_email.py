"""E-mail through aiosmtpd: content, threads, encryption, refusals."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertState, MessageRef, OnCall
from alerts.notify.email import EmailNotifier, MailServer, Security
from alerts.notify.email_message import Envelope
from alerts.notify.words import CHINESE
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, RESOLVED, alert
from tests.contract.notifiers.tls import self_signed
from tests.fakes.mail_server import mail_server

ENVELOPE = Envelope("Alerts <alerts@example.org>", ("ops@example.org",), ("boss@example.org",), "nobody@example.org")


def notifier(port: int, security: Security = "none", **options: Any) -> EmailNotifier:
    server = {name: options.pop(name) for name in ("username", "password", "ca_file", "skip_verify") if name in options}
    return EmailNotifier("mail", MailServer("127.0.0.1", port, security, **server), ENVELOPE, **options)


def right() -> str:
    return "right"


async def test_people_on_call_get_the_email_and_the_recipients_when_none_of_them_has_an_address() -> None:
    async with mail_server() as server:
        own = notifier(server.port, people={"ann": "Ann <ann@example.org>"})
        for people in (("ann", "bo"), ("bo",), ()):
            await own.send(replace(FIRING, on_call=OnCall("primary", people)), None)
        assert [to for _, to in server.envelopes] == [
            ["ann@example.org", "boss@example.org"],
            ["ops@example.org", "boss@example.org"],
            ["ops@example.org", "boss@example.org"],
        ]
        assert server.mails[0]["To"] == "Ann <ann@example.org>"


async def test_an_email_says_it_in_text_and_in_html() -> None:
    async with mail_server() as server:
        await notifier(server.port).send(FIRING, None)
        (mail,) = server.mails
        assert server.envelopes == [("alerts@example.org", ["ops@example.org", "boss@example.org"])]
        assert mail["Subject"] == "FIRING: LLMErrorRateHigh · chat"
        assert (mail["From"], mail["To"], mail["Cc"], mail["Reply-To"]) == (
            "Alerts <alerts@example.org>",
            "ops@example.org",
            "boss@example.org",
            "nobody@example.org",
        )
        assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
        assert mail["Date"] == "Tue, 14 Nov 2023 22:14:30 +0000"
        text, html = (part.get_content() for part in mail.iter_parts())
        assert text.splitlines() == [
            "FIRING: LLMErrorRateHigh · chat",
            "Model: chat",
            "Severity: critical",
            "Since: 2023-11-14 22:14:20 UTC",
            "Firing: 1",
            "5% of requests to chat fail",
            "Console: http://console.example/alerts",
            "Runbook: https://runbooks.example/LLMErrorRateHigh.md",
            'message 1 · ops{alertname="LLMErrorRateHigh"}/7/1',
        ]
        assert '<a href="https://runbooks.example/LLMErrorRateHigh.md">Runbook</a>' in html
        assert "#c62828" in html


async def test_the_emails_of_a_group_are_one_thread() -> None:
    async with mail_server() as server:
        own = notifier(server.port)
        root = await own.send(FIRING, None)
        assert root is not None
        assert await own.send(replace(FIRING, repeat=True), root) == root
        assert await own.send(RESOLVED, root) == root
        first, repeat, last = server.mails
        assert first["Message-ID"] == repeat["Message-ID"] == root.place, "a mailbox can drop the repeat"
        assert first["References"] is None and repeat["References"] is None
        assert last["References"] == last["In-Reply-To"] == root.place
        assert last["Message-ID"] != root.place
        assert last["Importance"] is None
        other = await own.send(replace(FIRING, generation=8), None)
        assert other != root, "a group that opens again begins a thread of its own"


async def test_a_place_of_another_kind_of_notifier_begins_a_thread() -> None:
    async with mail_server() as server:
        ref = await notifier(server.port).send(RESOLVED, MessageRef("C0000000001/1700000000.000001"))
        assert server.mails[0]["References"] is None
        assert ref == MessageRef(server.mails[0]["Message-ID"])


async def test_labels_add_neither_headers_nor_markup() -> None:
    async with mail_server() as server:
        evil = '"><script>alert(1)</script>\r\n.\r\nMAIL FROM:<x@y>'
        await notifier(server.port).send(replace(ATTACK, firing=(*ATTACK.firing, alert(evil))), None)
        (mail,) = server.mails
        assert mail["Bcc"] is None
        assert "\n" not in mail["Subject"]
        assert len(server.envelopes[0][1]) == 2
        text, html = (part.get_content() for part in mail.iter_parts())
        assert "<script" not in html and "&lt;script&gt;" in html
        assert "\u202e" not in text + html and "\x1b" not in text + html


async def test_a_group_of_any_size_is_an_email_of_bounded_size() -> None:
    async with mail_server() as server:
        await notifier(server.port).send(HUGE, None)
        (mail,) = server.mails
        assert len(mail["Subject"]) <= 200
        assert len(bytes(mail)) < 300_000


async def test_chinese_notices_and_edits() -> None:
    async with mail_server() as server:
        own = notifier(server.port, words=CHINESE, html=False)
        await own.send(FIRING, None)
        await own.send(NOTICE, None)
        assert await own.send(EDIT, None) is None
        first, second = server.mails
        assert first["Subject"] == "告警中: LLMErrorRateHigh · chat"
        assert "级别: 严重" in first.get_content()
        assert second["Subject"] == "Promotion of chat to v2 failed"


@asynccontextmanager
async def serving_tls(folder: Path, *, starttls: bool) -> AsyncIterator[tuple[int, Path]]:
    certificate, key = self_signed(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with mail_server(context, starttls=starttls, login=True) as server:
        yield server.port, certificate
        assert all(server.encrypted)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_encryption_and_login(tmp_path: Path, security: Security) -> None:
    async with serving_tls(tmp_path, starttls=security == "starttls") as (port, ca):
        login: dict[str, Any] = {"username": "alerts", "password": right}
        await notifier(port, security, ca_file=str(ca), **login).send(FIRING, None)
        await notifier(port, security, skip_verify=True, **login).send(FIRING, None)
        with pytest.raises(DeliveryFailed, match=r"certificate refused: self-signed .* name its CA in ca_file") as bad:
            await notifier(port, security, **login).send(FIRING, None)
        assert bad.value.permanent
        wrong = notifier(port, security, ca_file=str(ca), username="alerts", password=lambda: "wr0ng-secret")
        with pytest.raises(DeliveryFailed, match=r"refuses the login: 535 .*; check the user name") as failed:
            await wrong.send(FIRING, None)
        assert failed.value.permanent and "wr0ng" not in str(failed.value)


async def test_a_password_that_cannot_be_read_is_worth_another_try() -> None:
    def missing() -> str:
        raise DeliveryFailed("variable SMTP is not set")

    with pytest.raises(DeliveryFailed, match="SMTP is not set") as failed:
        await notifier(1, username="a", password=missing).send(FIRING, None)
    assert not failed.value.permanent


@pytest.mark.parametrize(
    ("step", "answer", "words", "permanent"),
    [
        ("MAIL", "550 unknown sender", "answered 550 unknown sender", True),
        ("MAIL", "451 try later", "answered 451 try later", False),
        ("DATA", "452 no room", "answered 452 no room", False),
        ("DATA", "554 spam", "refuses the content: 554 spam", True),
    ],
)
async def test_refusals_are_told_with_the_servers_words(step: str, answer: str, words: str, permanent: bool) -> None:
    async with mail_server() as server:
        server.refuses[step] = answer
        with pytest.raises(DeliveryFailed, match=words) as failed:
            await notifier(server.port).send(FIRING, None)
        assert failed.value.permanent is permanent
        assert server.mails == []


async def test_html_that_is_refused_goes_as_text() -> None:
    async with mail_server() as server:
        server.refuses["DATA html"] = "554 5.7.1 no HTML here"
        ref = await notifier(server.port).send(FIRING, None)
        assert ref is not None
        where = f"mail: 127.0.0.1:{server.port}"
        assert ref.note == f"sent as plain text: {where} refuses the content: 554 5.7.1 no HTML here"
        (mail,) = server.mails
        assert mail.get_content_type() == "text/plain"
        assert mail["Message-ID"] == ref.place


async def test_one_recipient_is_enough_and_the_others_are_named() -> None:
    async with mail_server() as server:
        server.refuses["RCPT boss@example.org"] = "550 no such user"
        ref = await notifier(server.port).send(FIRING, None)
        assert ref is not None and ref.note == "not accepted for boss@example.org: 550 no such user"
        server.refuses["RCPT ops@example.org"] = "451 greylisted"
        with pytest.raises(DeliveryFailed, match=r"accepts no recipient .*ops@example.org: 451 greylisted") as failed:
            await notifier(server.port).send(FIRING, None)
        assert not failed.value.permanent, "one of them may be accepted later"


async def _silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0)


async def _leaves(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _lies(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def _floods(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220-" + b"x" * 1_000_000)
    writer.close()


@pytest.mark.parametrize("behaviour", [_silent, _leaves, _lies, _floods])
async def test_a_server_that_is_none_is_worth_another_try(behaviour: Callable[..., Any]) -> None:
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        await behaviour(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(DeliveryFailed) as failed:
        await notifier(server.sockets[0].getsockname()[1], timeout_s=1.0).send(FIRING, None)
    assert not failed.value.permanent
    assert len(str(failed.value)) < 400
    for writer in open_ones:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_a_server_that_hangs_or_is_away_or_has_no_tls() -> None:
    async with mail_server() as server:
        server.hangs = True
        with pytest.raises(DeliveryFailed, match="did not finish within 1 s") as hung:
            await notifier(server.port, timeout_s=1.0).send(FIRING, None)
        assert not hung.value.permanent
        with pytest.raises(DeliveryFailed, match="does not offer STARTTLS; set security: tls, or none") as failed:
            await notifier(server.port, "starttls").send(FIRING, None)
        assert failed.value.permanent
        with pytest.raises(DeliveryFailed, match="the port has no TLS; check port: and security:"):
            await notifier(server.port, "tls").send(FIRING, None)
    with pytest.raises(DeliveryFailed, match="cannot be reached: "):
        await notifier(server.port).send(FIRING, None)


async def test_a_resolved_alert_is_told_in_the_past() -> None:
    async with mail_server() as server:
        gone = replace(alert("chat", AlertState.INACTIVE), resolved_at=1_700_000_154.25)
        await notifier(server.port).send(replace(RESOLVED, resolved=(gone,)), None)
        text = next(server.mails[0].iter_parts()).get_content()
        assert "ended at 2023-11-14 22:15:54 UTC, after firing for 1m 34s (was: 5% of requests to chat fail)" in text
