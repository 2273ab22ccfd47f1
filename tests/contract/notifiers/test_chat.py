"""Incoming webhooks of chat programs, against fakes that check what the real ones check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import Button
from alerts.notify.chat.bot import ChatBot, Dialect
from alerts.notify.chat.dingtalk import DingTalk
from alerts.notify.chat.feishu import Feishu
from alerts.notify.chat.msteams import MSTeams
from alerts.notify.chat.slack_webhook import SlackWebhook
from alerts.notify.chat.wecom import WeCom
from alerts.notify.http import HttpPoster
from alerts.notify.words import CHINESE
from tests.contract.notifiers.http_faults import FAULTS, Fault, fails, patience
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, RESOLVED
from tests.fakes import receivers
from tests.fakes.receiver import Receiver, Reply, receiving
from tests.fakes.receivers import KEY, SECRET
from tests.patience import HANG_S


@dataclass
class Clock:
    """A monotonic clock set by hand."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass(frozen=True)
class Kind:
    """A chat program."""

    dialect: Dialect
    reply: Reply
    path: str
    has_secret: bool = False


KINDS = {
    "feishu": Kind(Feishu(), receivers.feishu, f"/open-apis/bot/v2/hook/{KEY}", True),
    "dingtalk": Kind(DingTalk(), receivers.dingtalk, f"/robot/send?access_token={KEY}", True),
    "wecom": Kind(WeCom(), receivers.wecom, f"/cgi-bin/webhook/send?key={KEY}"),
    "msteams": Kind(MSTeams(), receivers.msteams, f"/workflows/{KEY}/triggers/manual/paths/invoke?sig={KEY}"),
    "slack_webhook": Kind(SlackWebhook(), receivers.slack_webhook, f"/services/T0/B0/{KEY}"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@asynccontextmanager
async def chatting(
    kind: Kind, timeout_s: float = HANG_S, **options: Any
) -> AsyncIterator[tuple[Receiver, ChatBot, Clock]]:
    clock = Clock()
    async with receiving(kind.reply) as receiver:
        options |= {"secret": lambda: SECRET} if kind.has_secret else {}
        url = receiver.url + kind.path
        http = HttpPoster("ops", timeout_s=timeout_s)
        bot = ChatBot("ops", kind.dialect, lambda: url, http, monotonic=clock, **options)
        try:
            yield receiver, bot, clock
        finally:
            await bot.close()


def texts(content: Any) -> list[str]:
    """Return every text within JSON."""
    if isinstance(content, dict):
        return [text for value in content.values() for text in texts(value)]
    if isinstance(content, list):
        return [text for value in content for text in texts(value)]
    return [content] if isinstance(content, str) else []


async def test_a_message_says_what_where_since_when_and_what_to_do(kind: Kind) -> None:
    async with chatting(kind) as (receiver, bot, clock):
        for message in (FIRING, RESOLVED, NOTICE):
            ref = await bot.send(message, None)
            assert ref is not None and (ref.place, ref.note) == ("", "")
            clock.at += 60
        assert await bot.send(EDIT, None) is None
        firing, resolved, notice = ("\n".join(texts(got.json)) for got in receiver.taken)
        for word in (
            "FIRING: LLMErrorRateHigh · chat",
            "critical",
            "2023-11-14 22:14:20 UTC",
            "5% of requests to chat fail",
            "https://runbooks.example/LLMErrorRateHigh.md",
            "http://console.example/alerts",
            FIRING.id,
        ):
            assert word in firing
        assert "RESOLVED: LLMErrorRateHigh · chat" in resolved and "ended at 2023-11-14 22:18:20 UTC" in resolved
        assert "Promotion of chat to v2 failed" in notice and "It did not load." in notice


async def test_chinese(kind: Kind) -> None:
    async with chatting(kind, words=CHINESE) as (receiver, bot, _):
        await bot.send(FIRING, None)
        said = "\n".join(texts(receiver.taken[0].json))
        for word in ("告警中: LLMErrorRateHigh · chat", "模型", "严重", "开始时间", "处理手册", "控制台"):
            assert word in said


async def test_a_group_of_any_size_is_within_the_limits(kind: Kind) -> None:
    async with chatting(kind) as (receiver, bot, _):
        ref = await bot.send(HUGE, None)
        assert ref is not None and ref.note == "", "the fake refuses what is too long"
        receiver.misbehave("400::no cards here")
        bot._pace._sent.clear()
        await bot.send(HUGE, None)
        assert len(receiver.taken) == 2
        wide = replace(NOTICE, group_labels=tuple((f"label_{n}", "双" * 900) for n in range(60)))
        bot._pace._sent.clear()
        ref = await bot.send(wide, None)
        assert ref is not None and ref.note == ""


async def test_markup_and_mentions_in_labels_do_not_act(kind: Kind) -> None:
    async with chatting(kind) as (receiver, bot, clock):
        await bot.send(ATTACK, None)
        clock.at += 60
        receiver.misbehave("400::again as text")
        await bot.send(ATTACK, None)
        assert len(receiver.taken) == 2
        for got in receiver.taken:
            content = got.json
            assert "at" not in content and "mentioned_list" not in content.get("text", {})
            for text in texts(content):
                assert "\u202e" not in text and "\x1b" not in text
                assert "<!channel>" not in text or _is_literal(content, text)
                if not _is_literal(content, text):
                    assert "<at id" not in text
                if content.get("msgtype") == "markdown":
                    assert "](http://evil)" not in text


async def test_a_label_mentions_nobody_in_wecom() -> None:
    """`<@user>` mentions people in both forms of WeCom's messages."""
    async with chatting(KINDS["wecom"]) as (receiver, bot, clock):
        message = replace(FIRING, group_labels=(("alertname", "<@all>"),))
        await bot.send(message, None)
        clock.at += 60
        receiver.misbehave('200::{"errcode": 40058, "errmsg": "bad markdown"}')
        await bot.send(message, None)
        markdown, text = (got.json[got.json["msgtype"]]["content"] for got in receiver.taken)
        assert "＜@all>" in markdown and "＜@all>" in text
        assert "<@" not in markdown + text


def _is_literal(content: Any, text: str) -> bool:
    """Return whether a text is shown as it is: of type plain_text, or a TextRun."""
    if isinstance(content, dict):
        if content.get("tag") == "plain_text" or content.get("type") in ("TextRun", "plain_text"):
            return text in texts(content)
        if content.get("msgtype") == "text":  # DingTalk mentions by `at` only
            return True
        return any(_is_literal(value, text) for value in content.values())
    return isinstance(content, list) and any(_is_literal(value, text) for value in content)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.fault)
async def test_faults_are_told_alike(kind: Kind, fault: Fault) -> None:
    async with chatting(kind, patience(fault.fault)) as (receiver, bot, clock):

        class Apart:
            """Sends each message long after the one before."""

            name = "ops"

            async def send(self, message: Any, root: Any) -> Any:
                clock.at += 60
                return await bot.send(message, root)

            async def close(self) -> None: ...

        await fails(receiver, Apart(), fault)


@pytest.mark.parametrize("name", ["feishu", "dingtalk", "wecom"])
@pytest.mark.parametrize("fault", ["garbage", "flood", "200::[]", "200::{}"])
async def test_an_answer_without_a_code_is_no_success(name: str, fault: str) -> None:
    async with chatting(KINDS[name]) as (receiver, bot, _):
        receiver.misbehave(fault)
        with pytest.raises(DeliveryFailed, match="the answer has no") as failed:
            await bot.send(FIRING, None)
        assert not failed.value.permanent
        assert len(str(failed.value)) < 500


@pytest.mark.parametrize(
    ("name", "code", "words", "permanent", "wait"),
    [
        ("feishu", '{"code": 11232, "msg": "frequency limited"}', "11232 frequency limited", False, 60.0),
        ("feishu", '{"code": 19024, "msg": "Key Words Not Found"}', "the bot's keywords", True, None),
        ("feishu", '{"StatusCode": 19022, "StatusMessage": "Ip Not Allowed"}', "list of addresses", True, None),
        ("dingtalk", '{"errcode": 130101, "errmsg": "send too fast"}', "130101 send too fast", False, 600.0),
        ("dingtalk", '{"errcode": 310000, "errmsg": "keywords not in content"}', "check the secret", True, None),
        ("dingtalk", '{"errcode": -1, "errmsg": "系统繁忙"}', "-1 系统繁忙", False, None),
        ("wecom", '{"errcode": 45009, "errmsg": "api freq out of limit"}', "45009 api freq", False, 60.0),
        ("wecom", '{"errcode": -1, "errmsg": "busy"}', "-1 busy", False, None),
        ("wecom", '{"errcode": 93000, "errmsg": "invalid webhook url"}', "copy the bot's current one", True, None),
        ("msteams", "Webhook message delivery failed: HTTP error 429", "HTTP error 429", False, None),
        ("msteams", "Webhook message delivery failed: HTTP error 500", "HTTP error 500", False, None),
    ],
)
async def test_a_code_in_a_good_answer_is_a_failure(
    name: str, code: str, words: str, permanent: bool, wait: float | None
) -> None:
    async with chatting(KINDS[name]) as (receiver, bot, _):
        receiver.misbehave(f"200::{code}")
        with pytest.raises(DeliveryFailed, match="refuses the message: ") as failed:
            await bot.send(FIRING, None)
        assert words in str(failed.value)
        assert (failed.value.permanent, failed.value.retry_after) == (permanent, wait)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("feishu", '200::{"code": 9499, "msg": "Bad Request"}'),
        ("dingtalk", '200::{"errcode": 40035, "errmsg": "bad markdown"}'),
        ("wecom", '200::{"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}'),
        ("msteams", "200::Webhook message delivery failed: HTTP error 413"),
        ("slack_webhook", "400::invalid_blocks"),
        ("slack_webhook", '200::{"ok": false, "error": "invalid_blocks"}'),
    ],
)
async def test_a_refused_form_is_sent_again_as_plain_text(name: str, fault: str) -> None:
    async with chatting(KINDS[name]) as (receiver, bot, _):
        receiver.misbehave(fault)
        ref = await bot.send(FIRING, None)
        assert ref is not None and ref.note.startswith("sent as plain text: ops: 127.0.0.1 ")
        (got,) = receiver.taken
        assert "blocks" not in got.json and got.json.get("msgtype", "text") == "text"
        assert "5% of requests to chat fail" in "\n".join(texts(got.json))


@pytest.mark.parametrize(("name", "most", "within_s"), [("feishu", 5, 1), ("dingtalk", 20, 60), ("wecom", 20, 60)])
async def test_the_receivers_limit_is_kept_here(name: str, most: int, within_s: float) -> None:
    async with chatting(KINDS[name]) as (receiver, bot, clock):
        for _ in range(most):
            await bot.send(FIRING, None)
        clock.at += within_s / 4
        with pytest.raises(DeliveryFailed, match=f"takes {most} messages in {within_s} s") as failed:
            await bot.send(FIRING, None)
        assert failed.value.retry_after == pytest.approx(within_s * 3 / 4)
        assert len(receiver.got) == most, "DingTalk blocks a bot that asks for more"
        clock.at += within_s
        await bot.send(FIRING, None)
        assert len(receiver.got) == most + 1


async def test_a_wrong_secret_is_told_without_it() -> None:
    for name in ("feishu", "dingtalk"):
        async with chatting(KINDS[name]) as (_, bot, _clock):
            bot._secret = lambda: "SECwrong9876"
            with pytest.raises(DeliveryFailed, match="check the secret") as failed:
                await bot.send(FIRING, None)
            assert failed.value.permanent
            assert "SECwrong" not in str(failed.value) and KEY not in str(failed.value)


async def test_a_receiver_that_repeats_the_address_shows_no_secret(kind: Kind) -> None:
    async with chatting(kind) as (receiver, bot, _):
        receiver.misbehave(f"403::no rights at {receiver.url}{kind.path}")
        with pytest.raises(DeliveryFailed, match="answered 403") as failed:
            await bot.send(FIRING, None)
        assert KEY not in str(failed.value)


async def test_a_slack_webhook_has_no_buttons_but_links() -> None:
    async with chatting(KINDS["slack_webhook"]) as (receiver, bot, _):
        buttons = (Button("Roll back", "rollout.back", "r-1"),)
        ref = await bot.send(replace(NOTICE, buttons=buttons), None)
        assert ref is not None and ref.note == ""
        (got,) = receiver.taken
        elements = next(block["elements"] for block in got.json["blocks"] if block["type"] == "actions")
        assert [element["url"] for element in elements] == ["http://console.example/alerts"]


async def test_wecom_and_dingtalk_cut_whole_lines() -> None:
    for name, limit in (("wecom", 4096), ("dingtalk", 18_000)):
        async with chatting(KINDS[name]) as (receiver, bot, _):
            await bot.send(HUGE, None)
            content = receiver.taken[0].json["markdown"]
            text = content.get("content") or content["text"]
            assert len(text.encode()) <= limit
            assert text.count("<font") == text.count("</font>")
            assert orjson.loads(receiver.taken[0].body)
