"""The chart of a Slack message: its upload, and every way in which it fails. The message goes out in all of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from PIL import Image

from alerts.charts import Chart, ChartLine
from alerts.errors import DeliveryFailed, QueryFailed
from alerts.interfaces import Message, MessageRef, Notice
from alerts.notify.chart_png import HEIGHT, WIDTH
from alerts.notify.slack import chart as slack_chart
from alerts.notify.slack import notifier as slack_notifier
from alerts.notify.slack.notifier import SlackNotifier
from tests.contract.notifiers import messages
from tests.fakes.slack import CHANNEL, TOKEN, FakeSlack, running
from tests.patience import HANG_S, until

CHART = Chart(
    "Hot: temperature", 0.0, 3600.0, (ChartLine("gpu=0", tuple((60.0 * n, 80.0 + n / 4) for n in range(61))),), 85.0
)


@dataclass
class Source:
    """A source of charts that can fail."""

    made: Chart | Exception | None = CHART
    ready: asyncio.Event | None = None
    """The chart comes when it is set; None: at once."""

    async def chart(self, message: Message) -> Chart | None:
        if self.ready is not None:
            await self.ready.wait()
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


@dataclass
class Post:
    """A notifier with charts on a fake Slack, and its clock."""

    slack: FakeSlack
    source: Source
    at: float = 0.0
    chart: bool = True

    def __post_init__(self) -> None:
        self.notifier = SlackNotifier(
            "ops",
            "#ops",
            lambda: TOKEN,
            base_url=self.slack.url,
            timeout_s=HANG_S,
            monotonic=lambda: self.at,
            sleep=self.sleep,
            chart=self.chart,
        )
        self.notifier.use_charts(self.source)

    async def sleep(self, seconds: float) -> None:
        """Wait no time."""

    async def note(self, message: Message = messages.FIRING, root: MessageRef | None = None) -> str:
        ref = await self.notifier.send(message, root)
        assert ref is not None
        return ref.note

    def kinds(self) -> list[list[str]]:
        return [[block["type"] for block in message["blocks"]] for message in self.slack.roots()]

    def methods(self) -> list[str]:
        methods = [method for method, _ in self.slack.calls]
        self.slack.calls.clear()
        return methods


@pytest.fixture
async def post(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    # A chart is as quick as it must be, however busy the machine is.
    monkeypatch.setattr(slack_chart, "HEAD_START_S", HANG_S)
    async with running() as slack:
        made = Post(slack, Source())
        yield made
        await made.notifier.close()


UPLOAD = ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"]


async def test_a_chart_stands_beside_the_bar_of_colour(post: Post) -> None:
    assert await post.note(replace(messages.FIRING, texts={"color": "good"})) == ""
    (message,) = post.slack.roots()
    (beside,) = message["attachments"]
    assert [block["type"] for block in beside["blocks"]] == ["section", "section", "image", "actions", "context"]
    assert message["blocks"] == []


async def test_a_message_about_an_alert_shows_its_chart(post: Post) -> None:
    assert await post.note() == ""
    assert post.methods() == [*UPLOAD, "chat.postMessage"]
    (message,) = post.slack.roots()
    kinds = [block["type"] for block in message["blocks"]]
    assert kinds.index("image") < kinds.index("context")
    (image,) = [block for block in message["blocks"] if block["type"] == "image"]
    (file,) = post.slack.files
    assert image == {
        "type": "image",
        "slack_file": {"id": file},
        "alt_text": "Hot: temperature during the last hour, and the threshold",
    }
    drawn = Image.open(io.BytesIO(post.slack.files[file]))
    assert (drawn.format, drawn.size) == ("PNG", (WIDTH, HEIGHT))


async def test_an_update_gets_a_newer_chart(post: Post) -> None:
    root = await post.notifier.send(messages.FIRING, None)
    post.methods()
    await post.notifier.send(replace(messages.FIRING, sequence=2), root)
    assert post.methods() == [*UPLOAD, "chat.update", "chat.postMessage"]
    assert len(post.slack.completed) == 2


async def test_without_the_scope_messages_go_without_charts_and_say_so_once(post: Post) -> None:
    post.slack.misbehave("missing_scope", "files.getUploadURLExternal")
    told = await post.note()
    assert told.startswith("sent without a chart: Slack files.getUploadURLExternal to #ops: missing_scope")
    assert "files:write for charts" in told
    post.methods()
    assert await post.note(replace(messages.FIRING, generation=8)) == ""
    assert post.methods() == ["chat.postMessage"], "no upload is tried for an hour"
    post.at = 3600.0
    post.slack.misbehave("missing_scope", "files.getUploadURLExternal")
    assert await post.note(replace(messages.FIRING, generation=9)) == "", "the same reason is noted once"
    post.at = 7200.0
    await post.note(replace(messages.FIRING, generation=10))
    assert ["image" in kinds for kinds in post.kinds()] == [False, False, False, True]


@pytest.mark.parametrize("method", UPLOAD)
@pytest.mark.parametrize("fault", ["429:30", "500", "hang"])
async def test_a_fault_of_the_upload_never_prevents_the_message(
    post: Post, fault: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_chart, "CHART_S", 0.5 if fault == "hang" else HANG_S)
    post.slack.misbehave(fault, method)
    assert (await post.note()).startswith("sent without a chart: ")
    monkeypatch.setattr(slack_chart, "CHART_S", HANG_S)
    assert "image" not in post.kinds()[0]
    post.methods()
    await post.note(replace(messages.FIRING, generation=8))
    assert post.methods() == ["chat.postMessage"]
    post.at = 60.0
    await post.note(replace(messages.FIRING, generation=9))
    assert "image" in post.kinds()[2]


async def test_slack_that_refuses_the_block_gets_the_message_without_it(post: Post) -> None:
    post.slack.misbehave("invalid_blocks", "chat.postMessage")
    assert (await post.note()).startswith("sent without a chart: Slack chat.postMessage to #ops: invalid_blocks")
    (kinds,) = post.kinds()
    assert kinds[0] == "header"
    assert "image" not in kinds


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (QueryFailed("timeout: too slow"), "timeout: too slow"),
        (ZeroDivisionError("bug"), "internal error (ZeroDivisionError)"),
    ],
)
async def test_a_query_that_fails_costs_the_chart_and_nothing_else(post: Post, fault: Exception, why: str) -> None:
    post.source.made = fault
    assert await post.note() == f"sent without a chart: {why}"
    assert "image" not in post.kinds()[0]


async def test_a_query_that_hangs_is_not_waited_for(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_chart, "CHART_S", 0.05)
    post.source.ready = asyncio.Event()
    assert await post.note() == "sent without a chart: it took longer than 0.05 s"
    assert post.methods() == ["chat.postMessage"]


async def test_what_has_no_chart_uploads_nothing(post: Post) -> None:
    notice = replace(messages.FIRING, status="notice", firing=(), notice=Notice("Rollout done", "v2 serves"))
    await post.note(notice)
    post.source.made = None
    assert await post.note(replace(messages.FIRING, generation=8)) == ""
    off = Post(post.slack, Source(), chart=False)
    await off.note(replace(messages.FIRING, generation=9))
    await off.notifier.close()
    assert post.methods() == ["chat.postMessage"] * 3


@pytest.fixture
def late(post: Post, monkeypatch: pytest.MonkeyPatch) -> Post:
    """A chart that is ready only when a message was posted."""
    monkeypatch.setattr(slack_chart, "HEAD_START_S", 0.0)
    post.source.ready = asyncio.Event()
    return post


async def sent_before_its_chart(late: Post, message: Message = messages.FIRING) -> MessageRef:
    assert late.source.ready is not None
    sending = asyncio.create_task(late.notifier.send(message, None))
    before = len(late.slack.messages)
    await until(lambda: len(late.slack.messages) > before)
    assert "image" not in [block["type"] for block in late.slack.messages[-1]["blocks"]]
    late.source.ready.set()
    ref = await sending
    assert ref is not None
    return ref


async def test_a_new_message_does_not_wait_for_a_slow_chart_and_gets_it_by_an_edit(late: Post) -> None:
    ref = await sent_before_its_chart(late)
    assert ref == MessageRef(f"{CHANNEL}/{late.slack.roots()[0]['ts']}")
    assert late.methods() == ["chat.postMessage", *UPLOAD, "chat.update"]
    (kinds,) = late.kinds()
    assert kinds == ["header", "section", "section", "image", "actions", "context"]
    assert late.slack.roots()[0]["metadata"]["event_payload"]["id"] == messages.FIRING.id


async def test_neither_does_an_escalation_in_a_thread(late: Post) -> None:
    root = await sent_before_its_chart(late)
    late.source.ready = asyncio.Event()
    escalated = replace(messages.FIRING, group_key="ops^15m{}", above=(root,))
    ref = await sent_before_its_chart(late, escalated)
    (reply,) = late.slack.thread(late.slack.roots()[0]["ts"])
    assert ref.place.endswith(f"/{reply['ts']}")
    assert "image" in [block["type"] for block in reply["blocks"]]


async def test_an_edit_waits_for_its_chart_because_it_notifies_nobody(late: Post) -> None:
    root = await sent_before_its_chart(late)
    late.methods()
    late.source.ready = None
    await late.notifier.send(replace(messages.FIRING, sequence=2), root)
    assert late.methods() == [*UPLOAD, "chat.update", "chat.postMessage"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("429:30", "Slack chat.update: rate limited, asked to wait 30s"),
        ("invalid_blocks", "Slack chat.update to #ops: invalid_blocks"),
        ("message_not_found", "Slack chat.update: message_not_found"),
        ("500", "Slack chat.update: HTTP 500, not a JSON answer"),
    ],
)
async def test_an_edit_with_the_chart_that_fails_leaves_a_message_that_was_delivered(
    late: Post, fault: str, why: str
) -> None:
    late.slack.misbehave(fault, "chat.update")
    assert (await sent_before_its_chart(late)).note == f"sent without a chart: {why}"
    assert "image" not in late.kinds()[0]


async def test_an_edit_with_the_chart_that_hangs_is_given_up(late: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_notifier, "CHART_S", 0.5)
    late.slack.misbehave("hang", "chat.update")
    assert (await sent_before_its_chart(late)).note == "sent without a chart: adding it took longer than 0.5 s"


async def test_an_edit_with_the_chart_takes_no_turn_that_other_edits_wait_for(late: Post) -> None:
    root = MessageRef(f"{CHANNEL}/1.5")
    late.source.made, late.source.ready = None, None
    for _ in range(10):
        await late.notifier.send(replace(messages.RESOLVED, edit=True), root)
    late.source.made, late.source.ready = CHART, asyncio.Event()
    late.methods()
    note = (await sent_before_its_chart(late)).note
    assert note.startswith("sent without a chart: Slack chat.update: the receiver takes one every 1.2 s")
    assert late.methods() == ["chat.postMessage", *UPLOAD]


async def test_a_message_that_goes_back_to_the_queue_uploads_nothing(post: Post) -> None:
    post.source.made = None
    for generation in range(13):
        await post.note(replace(messages.FIRING, generation=generation))
    post.source.made = CHART
    post.methods()
    with pytest.raises(DeliveryFailed, match=r"the next one may be sent in 11 s"):
        await post.note()
    assert post.methods() == []
