"""Slack's limits over several notifiers, on a clock that passes only while messages wait for their turns.

The fake of Slack answers 429 to whatever comes earlier than Slack would take it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef, Notifier
from alerts.notify.pace import SharedBuckets
from controlplane.app.notifying.recipes import recipe_of
from controlplane.config.notifiers import SlackSection
from tests.contract.notifiers.messages import FIRING
from tests.fakes.fleet_text import parse_fleet
from tests.fakes.slack import CHANNEL, TOKEN, FakeSlack, running
from tests.fakes.slack_limits import SlackLimits
from tests.fakes.slack_notifiers import on_clock
from tests.fakes.turning_clock import TurningClock

OPS = "channel: '#ops', token_env: TOKEN"


class Storm:
    """Notifiers with `chart: false` that share their limits, on a fake Slack that keeps Slack's."""

    def __init__(self, slack: FakeSlack) -> None:
        self.slack, self.clock = slack, TurningClock()
        slack.limits = self.limits = SlackLimits(self.clock.now)
        self.notifiers: list[Notifier] = []
        self.made: list[Notifier] = []
        self.shared = SharedBuckets()
        self._generations: Iterator[int] = iter(range(1000))

    def use(self, *fields: str) -> None:
        """Make a notifier of each text of fields."""
        common = f"type: slack, chart: false, base_url: '{self.slack.url}'"
        each = (f"{{name: n{n}, {common}, {one}}}" for n, one in enumerate(fields))
        text = f"fleet: {{name: a}}\nnotifiers: [{', '.join(each)}]\n"
        sections = parse_fleet(text, Path("fleet.yaml")).notifiers
        self.notifiers = [on_clock(recipe_of(section), self.clock).made() for section in sections]
        self.made += self.notifiers
        self.shared.share(self.notifiers)

    def message(self) -> Message:
        return replace(FIRING, generation=next(self._generations))

    async def patient(self, notifier: Notifier) -> MessageRef | None:
        """Send one message as the sender does: again, as a repeat, after the wait that a refusal asks for."""
        message = self.message()
        while True:
            try:
                return await notifier.send(message, None)
            except DeliveryFailed as failure:
                assert failure.retry_after is not None
                await self.clock.sleep(failure.retry_after)
                message = replace(message, repeat=True)

    def times(self, method: str = "chat.postMessage") -> list[float]:
        return [at for at, called, _ in self.limits.taken if called == method]


@pytest.fixture
async def storm(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Storm]:
    for name in ("TOKEN", "SAME_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    async with running() as slack:
        made = Storm(slack)
        yield made
        for notifier in made.made:
            await notifier.close()


async def test_two_notifiers_of_one_channel_post_one_message_a_second_together(storm: Storm) -> None:
    storm.use(OPS, "channel: ops, token_env: TOKEN, send_resolved: false")
    await storm.clock.run(*(storm.patient(notifier) for _ in range(6) for notifier in storm.notifiers))
    assert storm.times() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert storm.limits.refused == 0


async def test_a_storm_longer_than_the_patience_goes_back_to_the_queue_and_loses_no_turn(storm: Storm) -> None:
    storm.use(OPS, OPS, OPS)
    await storm.clock.run(*(storm.patient(notifier) for _ in range(12) for notifier in storm.notifiers))
    assert storm.times() == [0, 0, *range(34)]
    assert storm.limits.refused == 0
    assert len(storm.slack.roots()) == 36


async def test_a_message_that_would_wait_too_long_is_told_when_its_turn_is(storm: Storm) -> None:
    storm.use(OPS, OPS)
    first, second = storm.notifiers
    sends = [*(first.send(storm.message(), None) for _ in range(13)), second.send(storm.message(), None)]
    *sent, refused = await storm.clock.run(*sends)
    assert not any(isinstance(one, BaseException) for one in sent)
    assert isinstance(refused, DeliveryFailed)
    assert (refused.retry_after, refused.permanent) == (11.0, False)
    assert str(refused) == (
        "Slack chat.postMessage to #ops: the receiver takes one every 1 s, and others are first; "
        "the next one may be sent in 11 s"
    )


async def test_what_slack_asks_of_one_notifier_holds_for_the_other(storm: Storm) -> None:
    storm.use(OPS, OPS)
    first, second = storm.notifiers
    storm.slack.misbehave("429:7", "chat.postMessage")
    (refused,) = await storm.clock.run(first.send(storm.message(), None))
    assert isinstance(refused, DeliveryFailed)
    assert refused.retry_after == 7.0
    await storm.clock.run(*(storm.patient(notifier) for notifier in (second, first, second)))
    assert storm.times() == [7, 8, 9]


async def test_what_slack_asks_reaches_a_message_that_waits_already(storm: Storm) -> None:
    storm.use(OPS, OPS)
    first, second = storm.notifiers
    await storm.clock.run(*(first.send(storm.message(), None) for _ in range(3)))
    storm.slack.misbehave("429:7", "chat.postMessage")
    ends = await storm.clock.run(*(notifier.send(storm.message(), None) for notifier in (first, second)))
    assert [str(end) for end in ends] == [
        "Slack chat.postMessage: rate limited, asked to wait 7s",
        "Slack chat.postMessage to #ops: the receiver has asked to wait; the next one may be sent in 6 s",
    ]
    assert storm.clock.at == 2.0


async def test_updates_are_counted_by_token_and_posts_by_channel(storm: Storm) -> None:
    storm.use(OPS, f"channel: {CHANNEL}, token_env: TOKEN")
    by_name, by_id = storm.notifiers
    await storm.clock.run(*(notifier.send(storm.message(), None) for _ in range(3) for notifier in storm.notifiers))
    assert storm.times() == [0.0] * 6, "two channels, as far as the configuration tells"
    root = MessageRef(f"{CHANNEL}/{storm.slack.roots()[0]['ts']}")
    edit = replace(FIRING, edit=True)
    await storm.clock.run(*(notifier.send(edit, root) for _ in range(6) for notifier in (by_name, by_id)))
    assert storm.times("chat.update") == [0.0] * 10 + [1.2, 2.4]
    assert storm.limits.refused == 0


@pytest.mark.parametrize("other", ["channel: '#ops', token_env: SAME_TOKEN", "channel: '#ops', token_file: token"])
async def test_another_place_of_the_token_is_another_account(storm: Storm, other: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    storm.use(OPS, other.replace("token_file: token", f"token_file: {tmp_path / 'token'}"))
    storm.slack.limits = None
    await storm.clock.run(*(storm.patient(notifier) for _ in range(3) for notifier in storm.notifiers))
    assert storm.clock.at == 0.0


async def test_a_shared_bucket_outlives_its_users_one_by_one_and_ends_with_the_last(storm: Storm) -> None:
    storm.use(OPS)
    await storm.clock.run(*(storm.notifiers[0].send(storm.message(), None) for _ in range(3)))
    storm.use(OPS)
    await storm.clock.run(storm.notifiers[0].send(storm.message(), None))
    assert storm.times() == [0, 0, 0, 1], "the second notifier does not begin with a burst of its own"
    storm.use("channel: '#dev', token_env: TOKEN")
    storm.use(OPS)
    storm.slack.limits = None
    await storm.clock.run(*(storm.notifiers[0].send(storm.message(), None) for _ in range(3)))
    assert storm.clock.at == 1.0, "nobody used the bucket in between, so it was forgotten"


def test_a_token_of_an_alertmanager_yml_is_shared_by_its_value_and_shown_nowhere() -> None:
    fields = {"type": "slack", "channel": "#ops", "chart": False}
    secrets = [TOKEN, TOKEN, "xoxb-another"]
    sections = [SlackSection.with_secrets(fields | {"name": f"n{n}"}, {"token": one}) for n, one in enumerate(secrets)]
    accounts = [recipe_of(section).options["account"] for section in sections]
    assert [account == accounts[0] for account in accounts] == [True, True, False]
    shared = SharedBuckets()
    shared.share([recipe_of(section).made() for section in sections])
    assert len(vars(shared)["_buckets"]) == 4
    assert not any(token in repr(vars(shared)) for token in secrets)
