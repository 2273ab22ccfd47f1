"""A StrategyWorld whose messages go to a fake Slack, where people click. All but Slack and the fleet is real."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from alerts.notify.slack.notifier import SlackNotifier
from alerts.sender import MessageSender, SenderLimits
from controlplane.access.roles import Role
from controlplane.rollout.announce import Announcer
from controlplane.slack.actions import Actions, Person
from controlplane.slack.answers import Answers
from controlplane.slack.interactions import Interactions
from controlplane.slack.rollouts import RolloutActions
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.audit import AuditStore
from controlplane.store.outbox import OutboxStore
from tests.fakes.rollouts.strategy_world import StrategyWorld
from tests.fakes.slack import TOKEN, FakeSlack

PEOPLE = {
    "UANN": Person("ann", Role.ADMIN),
    "UBOB": Person("bob", Role.OPERATOR),
    "UEVE": Person("eve", Role.ADMIN),
    "UEVE2": Person("eve", Role.ADMIN),
    "UVIC": Person("vic", Role.VIEWER),
}
"""Ann starts the rollouts. Eve has two accounts in Slack."""


async def at_once(seconds: float) -> None:
    """Wait no time: the world's clock does not move while a message is sent."""


class SlackWorld(StrategyWorld):
    """Model `m` with stable version v1, #ops, and the people of PEOPLE."""

    def __init__(self, folder: Path, slack: FakeSlack, *, rollout: Mapping[str, Any] | None = None) -> None:
        super().__init__(folder, rollout=rollout)
        self.slack, self.helps = slack, False
        slack.app.now = self.clock.now

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.interactions.settled()
        await self._leave()
        await super().__aexit__(*exc)

    def _open(self) -> None:
        super()._open()
        announcer = Announcer("ops", "http://console", buttons=True)
        self.service.update(self.sections, self.drivers, dict.fromkeys(self.sections, self.verification), announcer)
        self.engine.update(self.sections, self.drivers, announcer)
        self.notifier = SlackNotifier(
            "ops",
            "#ops",
            lambda: TOKEN,
            base_url=self.slack.url,
            timeout_s=5.0,
            now=self.clock.now,
            monotonic=self.clock.now,
            sleep=at_once,
        )
        limits = SenderLimits()
        self.sender = MessageSender(
            OutboxStore(self.db), SqlGroupLog(self.db), {"ops": self.notifier}, self.clock, "p", limits
        )
        self.answers = Answers(self.slack.url, self.clock.now)
        actions = Actions(RolloutActions(self.service, self.clock).actions())
        self.interactions = Interactions(actions, self.answers)
        self.interactions.use(PEOPLE)

    async def crash(self) -> None:
        """Lose all state that is not in the database, and start again."""
        await self._leave()
        await super().crash()

    async def _leave(self) -> None:
        await self.notifier.close()
        await self.answers.close()

    async def tick(self, seconds: float = 1.0, *, settle: bool = True) -> str:
        """Let `seconds` pass, tick, and deliver the messages. Return `phase: sentence`."""
        line = await super().tick(seconds, settle=settle)
        await self.deliver()
        return line

    async def deliver(self) -> None:
        """Send what is due."""
        while await self.sender.tick():
            pass

    async def click(self, user: str, message: Mapping[str, Any], action: str) -> str:
        """Let a person click a button of a message as it was read, and return the answer that the person reads."""
        payload = self.slack.app.payload(user, dict(message), action)
        return await self.receive(payload)

    async def receive(self, payload: Mapping[str, Any]) -> str:
        """Deliver a click, and return the answer that the person reads; "" for none."""
        before = len(self.slack.app.answers)
        await self.interactions.handle(payload)
        await self.interactions.settled()
        (answer,) = self.slack.app.answers[before:] or [("", "")]
        return answer[1]

    def shown(self, number: int = -1) -> tuple[str, list[str]]:
        """Return the title of a message of #ops (the newest), without its sign, and the names of its buttons."""
        message = self.slack.roots()[number]
        return title_of(message), buttons_of(message)

    def audited(self) -> list[tuple[str, str, str]]:
        """Return (actor, action, detail) of what people did, oldest first."""
        acts = AuditStore(self.db).recent(100)[::-1]
        return [(act.actor, act.action, act.detail) for act in acts if act.actor != "rollout-engine"]


def title_of(message: Mapping[str, Any]) -> str:
    """Return the header's text without its sign."""
    header: str = message["blocks"][0]["text"]["text"]
    return header.split(": ", 1)[1] if header.count(":") > 2 else header.partition(" ")[2]


def text_of(message: Mapping[str, Any]) -> str:
    """Return the lines of a message."""
    return "\n".join(b["text"]["text"] for b in message["blocks"] if b["type"] == "section" and "text" in b)


def buttons_of(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of the buttons that act."""
    found = [e for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]
    return [e["text"]["text"] for e in found if "value" in e]


def dialog_of(message: Mapping[str, Any], action: str) -> str:
    """Return the text of the dialog before an action."""
    found = [e for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]
    text: str = next(e for e in found if e["action_id"] == action)["confirm"]["text"]["text"]
    return text
