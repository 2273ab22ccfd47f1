"""The part that receives clicks: what a configuration means, and what a reload keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.roles import Role
from controlplane.access.sessions import SessionStore
from controlplane.access.tokens import TokenStore
from controlplane.app.checks.surroundings import check_surroundings
from controlplane.app.parts.part import Configuration
from controlplane.app.parts.route import receives_buttons
from controlplane.app.parts.slack import SlackPart
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.pools import make_pools
from controlplane.slack.actions import Action, Actions, Person
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from tests.fakes.slack import FakeSlack, running
from tests.fakes.slack_app import APP_TOKEN, SECRET, Clicked

Write = Callable[[str], LoadedFleet]
BUTTON = {"type": "button", "action_id": "a.b", "value": "v", "text": {"text": "A"}}
MESSAGE = {"ts": "1.1", "channel": "C1", "text": "", "blocks": [{"type": "actions", "elements": [BUTTON]}]}


class Process:
    """The part with one action, as a process has it."""

    def __init__(self, db: Database, slack: FakeSlack, fleet: Write) -> None:
        self.db, self.slack, self._fleet = db, slack, fleet
        self.done: list[tuple[str, Role]] = []
        self.pools = make_pools()
        self.gatekeeper = Gatekeeper(db, TokenStore(db), SessionStore(db), self.pools.access)
        self.part = SlackPart(Actions([Action("a.b", Role.OPERATOR, self._run)]), self.gatekeeper, SystemClock())

    async def _run(self, person: Person, value: str) -> str:
        self.done.append(person)
        return "Done."

    async def configure(self, *lines: str) -> list[str]:
        text = "".join(f"  {line}\n" for line in (*lines, f"base_url: {self.slack.url}"))
        settings = self.part.settings(Configuration(self._fleet(f"slack:\n{text}" if lines else ""), "127.0.0.1:1"))
        return list(await self.part.configure(settings))

    async def click(self, user: str = "U1A") -> Clicked:
        return await self.slack.app.click(user, MESSAGE, "a.b")


@asynccontextmanager
async def process(db: Database, fleet: Write, folder: Path) -> AsyncIterator[Process]:
    (folder / "app").write_text(APP_TOKEN)
    async with running() as slack:
        made = Process(db, slack, fleet)
        yield made
        await made.part.close()
        made.pools.close()


APP, ANA = "app_token_file: app", "people: {U1A: {name: ana}}"


async def test_clicks_come_after_the_start_and_people_change_without_a_new_connection(
    db: Database, fleet: Write, tmp_path: Path
) -> None:
    async with process(db, fleet, tmp_path) as p:
        assert await p.configure(APP, ANA) == ["people: 1 added (U1A), 0 kept"]
        assert (p.slack.app.opened, p.part.connections) == (0, 0), "nothing is opened before the start"
        await p.part.start()
        await p.slack.app.until(lambda: len(p.slack.app.sockets) == 1)
        assert await p.click() == Clicked(acknowledged=True)
        assert p.done == [Person("ana", Role.OPERATOR)]
        assert p.part.connections == 1
        assert await p.configure(APP, "people: {U1A: {name: ana, role: viewer}}") == ["people: 1 changed (U1A), 0 kept"]
        assert await p.click() == Clicked(acknowledged=True)
        await p.slack.app.until(lambda: len(p.slack.app.answers) == 2)
        assert "needs role operator, and ana has role viewer" in p.slack.app.answers[1][1]
        assert (len(p.done), p.slack.app.opened) == (1, 1)


async def test_a_refused_person_is_in_the_audit_trail(db: Database, fleet: Write, tmp_path: Path) -> None:
    async with process(db, fleet, tmp_path) as p:
        await p.configure(APP, ANA)
        await p.part.start()
        await p.slack.app.until(lambda: len(p.slack.app.sockets) == 1)
        for _ in range(3):
            await p.click("U9Z")
        await p.slack.app.until(lambda: len(p.slack.app.answers) == 3)
        await p.gatekeeper.write()
        (row,) = AuditStore(db).recent(10)
        assert (row.actor, row.action, row.subject) == ("U9Z", "token.refuse", "slack/U9Z")
        assert row.detail.startswith("3 attempts at action a.b from U9Z as slack U9Z: this control plane does not know")


async def test_another_token_opens_another_connection_and_no_section_ends_it(
    db: Database, fleet: Write, tmp_path: Path
) -> None:
    async with process(db, fleet, tmp_path) as p:
        (tmp_path / "other").write_text(APP_TOKEN)
        await p.configure(APP, ANA)
        await p.part.start()
        await p.slack.app.until(lambda: len(p.slack.app.sockets) == 1)
        await p.configure("app_token_file: other", ANA)
        await p.slack.app.until(lambda: len(p.slack.app.sockets) == 1 and p.slack.app.opened == 2)
        assert await p.configure() == ["buttons in messages do not work any more"]
        await p.slack.app.until(lambda: not p.slack.app.sockets)
        assert (p.part.door, p.part.connections) == (None, None)


async def test_a_signing_secret_opens_the_http_way(db: Database, fleet: Write, tmp_path: Path) -> None:
    async with process(db, fleet, tmp_path) as p:
        (tmp_path / "secret").write_text(SECRET)
        await p.configure("signing_secret_file: secret")
        assert p.part.door is not None
        door = p.part.door
        await p.configure("signing_secret_file: secret", ANA)
        assert p.part.door is door, "it remembers the requests that it received"
        await p.configure(APP)
        assert p.part.door is None


@pytest.mark.parametrize(
    ("text", "buttons"),
    [
        ("", False),
        ("slack: {app_token_env: A}\n", False),
        ("notifiers: [{name: ops, type: slack, channel: c, token_env: T}]\n", False),
        ("slack: {app_token_env: A}\nnotifiers: [{name: ops, type: slack, channel: c, token_env: T}]\n", True),
        ("slack: {app_token_env: A}\nnotifiers: [{name: ops, type: log}]\n", False),
    ],
)
def test_messages_have_buttons_where_clicks_come_back(fleet: Write, text: str, buttons: bool) -> None:
    assert receives_buttons(fleet(text)) is buttons


def test_the_check_names_secrets_that_are_missing_and_what_makes_buttons_useless(
    fleet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T", "x")
    loaded = fleet("rules: []\nslack: {app_token_env: A, signing_secret_file: s}\n")
    found: list[tuple[tuple[int | str, ...], str]] = []

    class Collect:
        def warn(self, loc: tuple[int | str, ...], sentence: str) -> None:
            found.append((loc, sentence))

    check_surroundings(loaded, Collect())  # type: ignore[arg-type]
    assert [(".".join(map(str, loc)), text.split(";")[0]) for loc, text in found] == [
        ("slack.app_token_env", "slack: environment variable A is not set or empty"),
        ("slack.signing_secret_file", f"slack: {loaded.path.parent / 's'} cannot be read: No such file or directory"),
        ("slack", "people: is empty, so nobody may click a button"),
        ("slack", "no message has buttons, because route.receiver is no notifier of type slack"),
    ]
