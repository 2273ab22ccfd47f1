"""Rollouts that people steer from Slack, second by second: what they see, what their clicks do, and who may."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.rollout.model import Phase
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.reporting.buttons import APPROVE, BACK, DETAILS
from controlplane.rollout.stored.recorded import RecordedRollout
from tests.fakes.rollouts.slack_world import SlackWorld, buttons_of, dialog_of, text_of, title_of
from tests.fakes.slack import running

RUNNING, ASKING = ["Roll back", "Details"], ["Approve", "Reject and roll back", "Details"]
TWO = {"steps": ["5%", "pause 3s"], "approvals": [{"at": "full", "count": 2}], "rollback_window": "10s"}
GATES = {"steps": ["5%", "50%"], "approvals": [{"at": "step"}, {"at": "full"}], "rollback_window": "10s"}


@asynccontextmanager
async def world(folder: Path, rollout: dict[str, Any]) -> AsyncIterator[SlackWorld]:
    async with running() as slack, SlackWorld(folder, slack, rollout=rollout) as opened:
        yield opened


async def until(world: SlackWorld, words: str, limit: int = 300) -> str:
    for _ in range(limit):
        line = await world.tick()
        if words in line:
            return line
    raise AssertionError(f"no {words!r} within {limit} ticks; last: {line}")


async def test_two_people_approve_and_the_message_says_so_at_each_step(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        id_ = (await w.promote()).id
        await w.deliver()
        assert w.shown() == ("Promotion of m to v2 began", RUNNING)
        await until(w, "Waiting for 2 approvals")
        assert w.shown(0) == ("Rollout of m to v2 is switching", RUNNING)
        assert w.shown(1) == ("Rollout of m to v2 waits for an approval", ASKING)
        assert dialog_of(w.slack.roots()[1], BACK) == (
            "Send every request of m to v1 again and take v2 out? Time needed: v1 is loaded: under a second."
        )
        asking = w.slack.roots()[1]
        assert await w.click("UBOB", asking, APPROVE) == "Approved by you as bob: m to v2, step 5."
        await w.tick()
        assert "Waiting for 1 approval by role operator, so far bob, not by ann" in text_of(asking)
        assert buttons_of(asking) == ASKING
        assert await w.click("UEVE", asking, APPROVE) == "Approved by you as eve: m to v2, step 5."
        await w.tick()
        assert (title_of(asking), text_of(asking), buttons_of(asking)) == (
            "Rollout of m to v2 was approved",
            "• Approved by bob and eve.",
            [],
        )
        await until(w, "succeeded")
        assert w.shown(0) == ("m is on v2", []), "no button of an ended rollout is left"
        (end,) = w.slack.thread(w.slack.roots()[0]["ts"])
        assert end["reply_broadcast"] is True, "the end is shown in the channel"
        assert len(w.slack.roots()) == 2
        assert w.audited() == [
            ("ann", "rollout.promote", f"v1 -> v2 by canary (rollout {id_})"),
            ("bob", "rollout.approve", f"rollout {id_}, step 5: via slack"),
            ("eve", "rollout.approve", f"rollout {id_}, step 5: via slack"),
        ]


async def test_a_person_counts_once_however_they_approve(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        id_ = (await w.promote()).id
        await until(w, "Waiting for 2 approvals")
        asking = w.slack.roots()[1]
        await w.service.approve(id_, actor="eve", role="operator", reason="from the command line")
        for account in ("UEVE", "UEVE2", "UEVE"):
            assert await w.click(account, asking, APPROVE) == "Approved by you as eve: m to v2, step 5."
            assert "Waiting for 1 approval by role operator, so far eve" in await w.tick()
        assert (await w.click("UANN", asking, APPROVE)).startswith(f"Not done: ann started rollout {id_} and cannot")
        assert "needs role operator, and vic has role viewer" in await w.click("UVIC", asking, APPROVE)
        assert [act[0] for act in w.audited()] == ["ann", "eve"]
        assert len((await w.service.show(id_)).rollout.wishes) == 1
        await w.click("UBOB", asking, APPROVE)
        assert "Waiting" not in await w.tick()


async def test_a_role_that_the_approval_demands_is_demanded_in_slack_too(tmp_path: Path) -> None:
    rollout = TWO | {"approvals": [{"at": "full", "role": "admin"}]}
    async with world(tmp_path, rollout) as w:
        await w.promote()
        await until(w, "Waiting for 1 approval by role admin")
        said = await w.click("UBOB", w.slack.roots()[1], APPROVE)
        assert said.endswith("waits for approvals by role admin, and bob has role operator.")
        await w.click("UEVE", w.slack.roots()[1], APPROVE)
        assert "Waiting" not in await w.tick()


async def test_a_late_click_never_approves_a_later_step(tmp_path: Path) -> None:
    async with world(tmp_path, GATES) as w:
        id_ = (await w.promote()).id
        await until(w, "Waiting for 1 approval")
        first = dict(w.slack.roots()[1])
        late, again = (w.slack.app.payload(user, first, APPROVE) for user in ("UEVE", "UBOB"))
        await w.click("UBOB", first, APPROVE)
        await until(w, "Waiting for 1 approval")
        assert w.shown(1)[1] == []
        assert w.shown(2) == ("Rollout of m to v2 waits for an approval", ASKING)
        step = (await w.latest()).step
        assert (await w.receive(late)).startswith(f"Not done: rollout {id_} is not at step ")
        assert (await w.receive(again)).startswith("Approved by you as bob"), "what bob did before is not doubted"
        assert "Waiting for 1 approval" in await w.tick()
        assert [wish.step == step for wish in (await w.service.show(id_)).rollout.wishes] == [False]
        assert (await w.latest()).step == step
        await w.click("UEVE", w.slack.roots()[2], APPROVE)
        await w.tick()
        assert (await w.latest()).step > step


async def test_a_rejection_rolls_back_once_and_every_later_click_says_why_not(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        id_ = (await w.promote()).id
        await until(w, "Waiting for 2 approvals")
        about, asking = (dict(m) for m in w.slack.roots())
        late = [w.slack.app.payload("UEVE", message, BACK) for message in (about, asking)]
        late += [w.slack.app.payload("UEVE", asking, APPROVE)]
        assert await w.click("UBOB", asking, BACK) == (
            "m goes back from v2 to v1. Asked for by you as bob. v1 is loaded: under a second."
        )
        assert await w.click("UEVE", about, BACK) == (
            "m goes back from v2 to v1. It was asked for before: Aborted by bob: via slack. v1 is loaded: under a "
            "second."
        )
        assert (await w.latest()).turn_back == "Aborted by bob: via slack"
        await w.tick()
        assert w.shown(0)[1] == ["Details"]
        assert w.shown(1) == ("Rollout of m to v2 goes back", [])
        assert text_of(w.slack.roots()[1]) == "• Aborted by bob: via slack."
        await until(w, "rolled-back")
        assert w.shown(0) == ("m is back on v1, as asked", [])
        for payload in late[:2]:
            assert (await w.receive(payload)).startswith(f"Not done: rollout {id_} of m has ended (rolled-back): ")
        assert "has ended" in await w.receive(late[2])
        assert [act[:2] for act in w.audited()] == [("ann", "rollout.promote"), ("bob", "rollout.abort")]
        assert len(await w.service.list()) == 1, "no click on an ended rollout starts another one"


async def test_a_click_on_an_ended_rollout_touches_no_later_one(tmp_path: Path) -> None:
    async with world(tmp_path, {"steps": ["5%", "pause"], "rollback_window": "10s"}) as w:
        await w.promote()
        await until(w, "until it is approved")
        old = [w.slack.app.payload("UEVE", dict(w.slack.roots()[n]), a) for n, a in ((0, BACK), (1, APPROVE))]
        await w.click("UBOB", w.slack.roots()[0], BACK)
        await until(w, "rolled-back")
        await w.service.lift("m", "v2", actor="ann", reason="it was the network")
        second = await w.promote()
        await until(w, "until it is approved")
        for payload in old:
            assert "has ended" in await w.receive(payload)
        assert "until it is approved" in await w.tick()
        assert (await w.latest()).id == second.id
        assert (await w.latest()).turn_back == ""


async def test_a_switched_rollout_goes_back_at_once_while_the_old_version_is_kept(tmp_path: Path) -> None:
    async with world(tmp_path, {"steps": ["5%"], "rollback_window": "60s"}) as w:
        await w.promote()
        await until(w, "draining: v2 serves; v1 stays loaded")
        about = dict(w.slack.roots()[0])
        assert (title_of(about), buttons_of(about)) == ("Rollout of m to v2 is draining", RUNNING)
        assert "v1 is loaded: under a second" in dialog_of(about, BACK)
        answers = await asyncio.gather(
            *(w.interactions.handle(w.slack.app.payload(u, about, BACK)) for u in ("UBOB", "UEVE"))
        )
        assert answers == [None, None]
        await w.interactions.settled()
        await until(w, "rolled-back")
        assert w.driver.servers["b0"].weights == {"v1": 1.0}
        assert len(await w.service.list()) == 1
        assert [act[1] for act in w.audited()] == ["rollout.promote", "rollout.rollback"]
        assert w.shown(0) == ("m is back on v1, as asked", [])


async def test_a_rollout_that_ends_between_the_look_and_the_act_takes_no_later_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, {"steps": ["5%"], "rollback_window": "5s"}) as w:
        first = await w.promote()
        await until(w, "draining: v2 serves; v1 stays loaded")
        about, seen = dict(w.slack.roots()[0]), await w.service.show(first.id)
        await until(w, "succeeded")
        second = await w.service.start("m", "v3", overrides=Overrides(), actor="ann", role="admin")
        await until(w, "switching")

        async def late(rollout_id: str) -> RecordedRollout:
            return seen

        monkeypatch.setattr(w.service, "show", late)
        said = await w.click("UBOB", about, BACK)
        assert said.startswith(f"Not done: rollout {second.id} of m is running and would go back to v2, not to v1")
        assert (await w.latest()).turn_back == ""


async def test_a_rollback_can_only_be_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path, {"steps": ["5%"]}) as w:
        await w.promote()
        await until(w, "succeeded")
        await w.service.rollback("m", actor="bob")
        await w.tick()
        assert w.shown()[1] == ["Details"]
        assert w.shown()[0].endswith("to v1 is preparing")


async def test_details_say_where_it_stands_also_after_the_end(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        id_ = (await w.promote()).id
        await until(w, "Waiting for 2 approvals")
        about = dict(w.slack.roots()[0])
        said = await w.click("UVIC", about, DETAILS)
        assert said.split("\n") == [
            f"{id_}: promote m v1 -&gt; v2 (canary), asked for by ann",
            f"switching: Waiting for 2 approvals by role operator, not by ann (`cp rollouts approve {id_}`)",
            "step 5 of 11: wait for 2 approvals by role operator before every request goes to the candidate",
            "time left: at least 1 min 6 s, and an approval",
            "a rollback now: v1 is loaded: under a second",
            f"more: cp rollouts show {id_}",
        ]
        await w.click("UBOB", about, BACK)
        await until(w, "rolled-back")
        said = await w.click("UVIC", about, DETAILS)
        assert said.split("\n")[1].startswith("rolled-back: ")


async def test_a_new_process_edits_the_messages_of_the_old_one(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        await w.promote()
        await until(w, "Waiting for 2 approvals")
        await w.click("UBOB", w.slack.roots()[1], APPROVE)
        await w.crash()
        await w.tick()
        assert "so far bob" in text_of(w.slack.roots()[1])
        await w.click("UEVE", w.slack.roots()[1], APPROVE)
        await w.crash()
        await until(w, "succeeded")
        assert [title_of(m) for m in w.slack.roots()] == ["m is on v2", "Rollout of m to v2 was approved"]
        assert [buttons_of(m) for m in w.slack.roots()] == [[], []]


@pytest.mark.parametrize("fault", ["429:7", "500", "502-text", "garbage", "lost", "internal_error"])
async def test_slack_that_fails_only_delays_what_people_see(tmp_path: Path, fault: str) -> None:
    async with world(tmp_path, TWO) as w:
        await w.promote()
        await until(w, "Waiting for 2 approvals")
        w.slack.misbehave(fault, "chat.update")
        asking = w.slack.roots()[1]
        for user in ("UBOB", "UEVE"):
            await w.click(user, asking, APPROVE)
        await until(w, "succeeded")
        for _ in range(10):
            await w.tick()
        assert [buttons_of(m) for m in w.slack.roots()] == [[], []]
        assert len(w.slack.roots()) == 2


async def test_a_message_that_was_deleted_is_not_edited_and_the_end_is_posted(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        await w.promote()
        await until(w, "Waiting for 2 approvals")
        asking = dict(w.slack.roots()[1])
        w.slack.messages.clear()
        for user in ("UBOB", "UEVE"):
            await w.click(user, asking, APPROVE)
        await until(w, "verifying")
        assert w.slack.roots() == [], "an edit posts nothing"
        await until(w, "succeeded")
        assert [title_of(m) for m in w.slack.roots()] == ["m is on v2"]


async def test_a_click_without_a_database_says_try_again_and_the_next_one_works(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        await w.promote()
        await until(w, "Waiting for 2 approvals")
        asking = dict(w.slack.roots()[1])
        other = sqlite3.connect(tmp_path / "cp.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        said = await w.click("UBOB", asking, APPROVE)
        other.execute("ROLLBACK")
        other.close()
        assert said == (
            "Not done: the control plane's database does not answer now. Nothing was lost, and a repeated click does "
            "no harm: click again in a moment."
        )
        assert [act[0] for act in w.audited()] == ["ann"]
        assert await w.click("UBOB", asking, APPROVE) == "Approved by you as bob: m to v2, step 5."


async def test_a_pause_keeps_the_question_and_its_buttons(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        id_ = (await w.promote()).id
        await until(w, "Waiting for 2 approvals")
        await w.service.pause(id_, actor="eve", reason="lunch")
        await until(w, "Paused by eve")
        assert w.shown(1)[1] == ASKING
        for user in ("UBOB", "UEVE"):
            await w.click(user, w.slack.roots()[1], APPROVE)
        await w.service.resume(id_, actor="eve")
        await until(w, "verifying")
        assert w.shown(1) == ("Rollout of m to v2 was approved", [])


async def test_a_rollout_that_left_the_configuration_goes_on_being_told(tmp_path: Path) -> None:
    async with world(tmp_path, TWO) as w:
        await w.promote()
        await until(w, "Waiting for 2 approvals")
        about = dict(w.slack.roots()[0])
        w.engine.update({}, {})
        await w.tick()
        assert w.shown(0) == ("Rollout of m to v2 waits", RUNNING)
        assert "goes back from v2 to v1" in await w.click("UBOB", about, BACK)
        assert (await w.latest()).phase is Phase.SWITCHING
