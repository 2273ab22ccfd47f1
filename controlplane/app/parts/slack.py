"""The part that receives clicks on buttons in Slack, over HTTP and over Socket Mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from alerts.interfaces import Clock
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.roles import Role
from controlplane.app.notifying.recipes import SLACK_API
from controlplane.app.parts.part import Configuration, Part, difference
from controlplane.app.slack_token import SlackToken, app_token, signing_secret
from controlplane.slack.actions import Actions, Person
from controlplane.slack.answers import Answers
from controlplane.slack.click import Click
from controlplane.slack.door import SlackDoor
from controlplane.slack.interactions import Interactions
from controlplane.slack.signature import Signatures
from controlplane.slack.socket import SocketMode

AFTER_FAULT_S = 60.0
"""Seconds between a fault of this program in Socket Mode and the next try. Chosen."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlackSettings:
    """The app's secrets, by their places, and the people by their id in Slack."""

    people: Mapping[str, Person]
    app_token: SlackToken | None
    signing_secret: SlackToken | None
    base_url: str


class SlackPart(Part[SlackSettings]):
    """Carries out clicks. Every replica does: Slack sends a click to one of them."""

    name = "slack"

    def __init__(self, actions: Actions, gatekeeper: Gatekeeper, clock: Clock) -> None:
        self._actions, self._gatekeeper, self._clock = actions, gatekeeper, clock
        self._settings: SlackSettings | None = None
        self._interactions: Interactions | None = None
        self._answers: Answers | None = None
        self._door: SlackDoor | None = None
        self._socket: SocketMode | None = None
        self._started = False
        self._running: asyncio.Task[None] | None = None

    @property
    def door(self) -> SlackDoor | None:
        """The HTTP way of clicks. None: fleet.yaml names no signing secret."""
        return self._door

    @property
    def connections(self) -> int | None:
        """Number of open connections of Socket Mode. None: fleet.yaml names no app-level token."""
        return None if self._socket is None else self._socket.connections

    def settings(self, config: Configuration) -> SlackSettings | None:
        """Return the settings of a configuration; None without `slack:`."""
        section = config.fleet.slack
        if section is None:
            return None
        return SlackSettings(
            people={id_: Person(person.name, Role(person.role)) for id_, person in section.people.items()},
            app_token=app_token(section),
            signing_secret=signing_secret(section),
            base_url=section.base_url or SLACK_API,
        )

    async def configure(self, settings: SlackSettings | None) -> Sequence[str]:
        """Use these people and secrets. A connection whose settings stay is kept."""
        before, self._settings = self._settings, settings
        if settings is None:
            await self._stop()
            return ["buttons in messages do not work any more"] if before is not None else ()
        if before is None or (before.app_token, before.signing_secret, before.base_url) != (
            settings.app_token,
            settings.signing_secret,
            settings.base_url,
        ):
            await self._stop()
            self._make(settings)
            self._listen()
        assert self._interactions is not None
        self._interactions.use(settings.people)
        return difference("people", before.people if before else {}, settings.people)

    async def start(self) -> None:
        """Connect to Slack, if fleet.yaml names an app-level token."""
        self._started = True
        self._listen()

    async def close(self) -> None:
        """Disconnect, and stop what is in work."""
        await self._stop()

    def _make(self, settings: SlackSettings) -> None:
        self._answers = Answers(settings.base_url, self._clock.now)
        self._interactions = Interactions(self._actions, self._answers, self._refused)
        secret, token = settings.signing_secret, settings.app_token
        self._door = None if secret is None else SlackDoor(Signatures(secret), self._interactions)
        self._socket = None if token is None else SocketMode(token, self._interactions.handle, settings.base_url)

    def _listen(self) -> None:
        if self._started and self._socket is not None and self._running is None:
            self._running = asyncio.create_task(_endless(self._socket.run), name="slack")

    async def _stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._interactions is not None:
            await self._interactions.close()
        if self._answers is not None:
            await self._answers.close()
        self._running = self._door = self._socket = self._interactions = self._answers = None

    def _refused(self, click: Click, reason: str) -> None:
        self._gatekeeper.note_refusal("slack", click.user, f"action {click.action}", reason, self._clock.now())


async def _endless(run: Callable[[], Awaitable[None]]) -> None:
    """Run Socket Mode for ever. A fault of this program ends only the connection, and is logged."""
    while True:
        try:
            await run()
        except Exception:
            # The process boundary: without its task, no click would come until the next start.
            log.exception("slack: Socket Mode failed; it starts again in %g s", AFTER_FAULT_S)
        await asyncio.sleep(AFTER_FAULT_S)
