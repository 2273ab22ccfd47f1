"""Clicks: who may, once each, and what a person reads when it does not work. A new kind of action needs no change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.errors import Conflict, LeaseLost, MalformedRequest, Unavailable
from controlplane.slack import interactions as module
from controlplane.slack.actions import Action, Actions, Person
from controlplane.slack.click import Click
from controlplane.slack.interactions import MOST_AT_ONCE, Interactions
from tests.patience import HANG_S

ANA, VIC = Person("ana", Role.OPERATOR), Person("vic", Role.VIEWER)
PEOPLE = {"U1": ANA, "U2": VIC}


class Said:
    """Takes the place of the answers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def say(self, url: str, text: str) -> None:
        self.lines.append(text)

    async def close(self) -> None: ...


def payload(
    user: str = "U1", action: str = "alert.silence", value: str = "abc 3600", at: str = "1.5"
) -> dict[str, Any]:
    button = {"type": "button", "action_id": action, "value": value, "action_ts": at}
    return {"type": "block_actions", "user": {"id": user}, "actions": [button], "response_url": "https://x.slack.com/"}


class Desk:
    """Interactions with one action of another kind than rollouts': it stands for those that will come."""

    def __init__(self, run: Callable[[Person, str], Awaitable[str]] | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str]] = []
        self.said = Said()
        silence = Action("alert.silence", Role.OPERATOR, run or self._silence)
        self.interactions = Interactions(Actions([silence]), self.said, self._refused)  # type: ignore[arg-type]
        self.interactions.use(PEOPLE)

    async def _silence(self, person: Person, value: str) -> str:
        self.done.append((person.name, value))
        return f"Silenced by {person.name}."

    def _refused(self, click: Click, reason: str) -> None:
        self.refused.append((click.user, reason))

    async def click(self, **parts: str) -> str:
        """Return what the person reads."""
        await self.interactions.handle(payload(**parts))
        await self.interactions.settled()
        return self.said.lines.pop() if self.said.lines else ""


async def test_a_person_with_the_role_acts_and_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_S", 10 * HANG_S)  # the effect ends the wait, and not the clock
    desk = Desk()
    async with asyncio.timeout(HANG_S):
        await desk.interactions.handle(payload(at="0"))
    await desk.interactions.settled()
    assert desk.said.lines.pop() == "Silenced by ana."
    desk.done.clear()
    assert await desk.click() == "Silenced by ana."
    assert (desk.done, desk.refused) == ([("ana", "abc 3600")], [])


async def test_an_unknown_person_reads_the_cure_and_the_refusal_is_recorded() -> None:
    desk = Desk()
    assert await desk.click(user="U9") == (
        "Not done: this control plane does not know your Slack id U9; ask an admin to add it to slack.people in "
        "fleet.yaml, as U9: {name: NAME, role: operator}."
    )
    assert await desk.click(user="U2") == (
        "Not done: this needs role operator, and vic has role viewer; an admin can change it in slack.people of "
        "fleet.yaml."
    )
    assert [user for user, _ in desk.refused] == ["U9", "U2"]
    desk.interactions.use({**PEOPLE, "U9": Person("new", Role.ADMIN)})
    assert await desk.click(user="U9", at="2") == "Silenced by new.", "people change while clicks come"


async def test_a_delivery_that_is_repeated_acts_and_answers_once() -> None:
    desk = Desk()
    assert await desk.click() == "Silenced by ana."
    assert await desk.click() == ""
    assert await desk.click(at="1.6") == "Silenced by ana.", "a second click is another one"
    assert len(desk.done) == 2


async def test_an_action_of_another_release_is_named() -> None:
    assert await Desk().click(action="alert.ack") == (
        "Not done: this control plane has no action alert.ack; the message is of another release."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Conflict("rollout r-1 has ended (failed)"), "Not done: rollout r-1 has ended (failed)."),
        (
            Unavailable("postgresql://cp:secret@db is away"),
            "Not done: the control plane's database does not answer now.",
        ),
        (LeaseLost("gone"), "Not done: the control plane's database does not answer now."),
        (ValueError("a bug at /srv"), "Not done: the control plane failed, logged as incident "),
    ],
)
async def test_an_action_that_fails_is_told_without_secrets(error: Exception, words: str) -> None:
    async def fail(person: Person, value: str) -> str:
        raise error

    said = await Desk(fail).click()
    assert said.startswith(words)
    assert not {"secret", "/srv"} & set(said.replace("@", " ").replace(":", " ").split())


async def test_a_slow_action_delays_no_acknowledgement_and_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_S", 0.01)
    go = asyncio.Event()

    async def slow(person: Person, value: str) -> str:
        await go.wait()
        return "Done late."

    desk = Desk(slow)
    await desk.interactions.handle(payload())
    assert desk.said.lines == []
    go.set()
    await desk.interactions.settled()
    assert desk.said.lines == ["Done late."]


async def test_an_action_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORK_S", 0.01)

    async def hang(person: Person, value: str) -> str:
        await asyncio.Event().wait()
        return ""

    assert (await Desk(hang).click()).startswith("Not known whether it was done: it took longer than 0.01 s. ")


async def test_too_many_clicks_at_once_are_refused_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_S", 0.001)
    go = asyncio.Event()

    async def slow(person: Person, value: str) -> str:
        await go.wait()
        return value

    desk = Desk(slow)
    for number in range(MOST_AT_ONCE):
        await desk.interactions.handle(payload(at=str(number)))
    with pytest.raises(Unavailable, match="click again in a moment"):
        await desk.interactions.handle(payload(at="x"))
    go.set()
    await desk.interactions.settled()
    await desk.interactions.handle(payload(at="x"))
    await desk.interactions.settled()
    assert len(desk.said.lines) == MOST_AT_ONCE + 1


async def test_the_end_of_the_process_stops_what_is_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_S", 0.001)

    async def hang(person: Person, value: str) -> str:
        await asyncio.Event().wait()
        return ""

    desk = Desk(hang)
    await desk.interactions.handle(payload())
    await desk.interactions.close()
    assert desk.said.lines == []


async def test_a_malformed_click_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        await Desk().interactions.handle(payload(user="nobody"))


def test_two_actions_cannot_have_one_name() -> None:
    async def run(person: Person, value: str) -> str:
        return ""

    actions = Actions([Action("a.b", Role.VIEWER, run)])
    with pytest.raises(ValueError, match=r"two actions have the name a\.b"):
        actions.add([Action("a.b", Role.ADMIN, run)])
