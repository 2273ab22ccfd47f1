"""Clicks, from their payload to their effect and the answer: who may, once each, and never longer than Slack waits."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

from controlplane.errors import ControlPlaneError, LeaseLost, Unavailable
from controlplane.slack.actions import Action, Actions, Person
from controlplane.slack.answers import Answers
from controlplane.slack.click import Click, click_of

ACK_S = 2.0
"""Seconds that a delivery of a click waits for its effect. Slack shows an error to the person after 3 s."""
WORK_S = 20.0
"""Longest time for an action, in seconds. Chosen: longer than the database's own patience."""
MOST_AT_ONCE = 32
"""Clicks in work at a time. Further ones are refused: Slack shows the person an error, and nothing was done."""
REMEMBERED = 1000
"""Clicks in memory, so that a repeated delivery is not answered twice. Its effect is once in any case."""
AGAIN = "Nothing was lost, and a repeated click does no harm: click again in a moment."
log = logging.getLogger(__name__)

Refused = Callable[[Click, str], None]
"""Records that a person was refused, with the reason."""


def _unrecorded(click: Click, reason: str) -> None:
    pass


class Interactions:
    """Handles clicks, in whatever way they come."""

    def __init__(self, actions: Actions, answers: Answers, refused: Refused = _unrecorded) -> None:
        self._actions, self._answers, self._refused = actions, answers, refused
        self._people: Mapping[str, Person] = {}
        self._seen: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, people: Mapping[str, Person]) -> None:
        """Accept these people, by their id in Slack, from the next click on."""
        self._people = people

    async def handle(self, payload: object) -> None:
        """Carry out a click. Return when its effect is there, or after ACK_S; the work then goes on.

        Raises MalformedRequest for a click without its parts, and Unavailable when too many are in work.
        """
        click = click_of(payload)
        if click is None or click.key in self._seen:
            return
        if len(self._tasks) >= MOST_AT_ONCE:
            raise Unavailable(f"{MOST_AT_ONCE} clicks are in work already; click again in a moment")
        self._seen[click.key] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        done = asyncio.Event()
        task = asyncio.create_task(self._carry_out(click, done), name=f"click on {click.action}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(TimeoutError):
            async with asyncio.timeout(ACK_S):
                await done.wait()

    async def settled(self) -> None:
        """Wait until every click that came so far has its effect and its answer."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop. An effect that was begun is there or not, as after a crash; the person sees no answer."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, click: Click, done: asyncio.Event) -> None:
        try:
            text = await self._outcome(click)
        finally:
            done.set()
        await self._answers.say(click.response_url, text)

    async def _outcome(self, click: Click) -> str:
        """Act, and return the lines for the person."""
        action, person = self._actions.get(click.action), self._people.get(click.user)
        if action is None:
            return f"Not done: this control plane has no action {click.action}; the message is of another release."
        if (refusal := _refusal(click, action, person)) or person is None:
            self._refused(click, refusal)
            return f"Not done: {refusal}."
        try:
            async with asyncio.timeout(WORK_S):
                return await action.run(person, click.value)
        except (Unavailable, LeaseLost) as error:
            # The error may name the database's address, which is only for the log.
            log.warning("slack: %s by %s could not be done: %s", click.action, person.name, error)
            return f"Not done: the control plane's database does not answer now. {AGAIN}"
        except TimeoutError:
            log.warning("slack: %s by %s took longer than %g s", click.action, person.name, WORK_S)
            return f"Not known whether it was done: it took longer than {WORK_S:g} s. {AGAIN}"
        except ControlPlaneError as error:
            return f"Not done: {error}."
        except Exception:
            # The job boundary: a bug in one action must not end the connection that all clicks come by.
            incident = secrets.token_hex(4)
            log.exception("incident %s: slack: %s by %s failed", incident, click.action, person.name)
            return f"Not done: the control plane failed, logged as incident {incident}."


def _refusal(click: Click, action: Action, person: Person | None) -> str:
    """Return why a person may not use an action, with the cure; "" for a person who may."""
    if person is None:
        return (
            f"this control plane does not know your Slack id {click.user}; ask an admin to add it to slack.people in "
            f"fleet.yaml, as {click.user}: {{name: NAME, role: {action.role}}}"
        )
    if not person.role.includes(action.role):
        return (
            f"this needs role {action.role}, and {person.name} has role {person.role}; an admin can change it in "
            "slack.people of fleet.yaml"
        )
    return ""
