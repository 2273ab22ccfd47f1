"""The gateway beside the control plane: when it is started, found, replaced and left alone."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.access import TokenStore
from controlplane.access.roles import Role
from controlplane.app.parts import beside
from controlplane.app.parts.beside import LOG, LOG_BYTES, STARTED, TOKEN, Beside, BesideSettings, reachable
from controlplane.app.parts.part import Configuration
from controlplane.config.loader import LoadedFleet
from controlplane.store.database import Database

Write = Callable[[str], LoadedFleet]
ONE = BesideSettings("/etc/fleet.yaml", "http://127.0.0.1:8080", "1.0")


class FakeClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class FakeProcess:
    """A process that the test ends."""

    def __init__(self, pid: int, command: list[str]) -> None:
        self.pid, self.command = pid, command
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class World:
    def __init__(self, db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.folder = folder / "gateway"
        self.tokens = TokenStore(db)
        self.part = Beside(db, folder, self.clock)  # type: ignore[arg-type]
        self.started: list[FakeProcess] = []
        self.running: int | None = None
        """Process id that the lock of the folder names."""
        monkeypatch.setattr(subprocess, "Popen", self.popen)
        monkeypatch.setattr(beside, "holder", lambda folder: self.running)

    def popen(self, command: list[str], **options: Any) -> FakeProcess:
        assert options["start_new_session"] is True
        self.started.append(FakeProcess(100 + len(self.started), command))
        return self.started[-1]

    async def watch(self, settings: BesideSettings | None = None) -> int:
        """Let the part look once, and return how many gateways were started so far."""
        if settings is not None:
            await self.part.configure(settings)
        await self.part.watch()
        return len(self.started)


@pytest.fixture
def world(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(db, tmp_path, monkeypatch)


async def test_a_gateway_is_started_once_with_a_token_of_its_own(world: World) -> None:
    assert await world.watch() == 0  # not wanted
    assert await world.watch(ONE) == 1
    command = world.started[0].command
    token = world.folder / TOKEN
    assert command[1:] == [
        *("-m", "controlplane", "gateway", "-c", "/etc/fleet.yaml", "--data-dir", str(world.folder)),
        *("--control-plane", "http://127.0.0.1:8080", "--token-file", str(token)),
    ]
    assert world.tokens.authenticate(token.read_text().strip(), 1000.0).role is Role.GATEWAY
    assert token.stat().st_mode & 0o777 == 0o600
    assert await world.watch() == 1  # it starts, and has not locked its folder yet
    world.running = 100
    assert await world.watch() == 1


async def test_the_next_control_plane_finds_it_and_replaces_it_when_its_facts_differ(world: World) -> None:
    world.folder.mkdir()
    world.running = 77
    (world.folder / STARTED).write_text(json.dumps({"config": ONE.config, "url": ONE.url, "version": ONE.version}))
    assert await world.watch(ONE) == 0
    assert await world.watch(BesideSettings(ONE.config, "http://127.0.0.1:9999", ONE.version)) == 1
    assert await world.watch() == 1  # the new one takes over meanwhile
    world.running = 100
    assert await world.watch() == 1
    assert await world.watch(BesideSettings(ONE.config, "http://127.0.0.1:9999", "2.0")) == 2


async def test_a_gateway_that_ends_at_once_is_started_later_and_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.watch(ONE)
    for number in range(2):
        world.started[-1].returncode = 1
        assert await world.watch() == number + 1
        assert f"the gateway (process {100 + number}) ended with 1; see {world.folder / LOG}" in caplog.text
        world.clock.at += 60
        assert await world.watch() == number + 2
    assert len({process.command[-1] for process in world.started}) == 1  # the token is used again


async def test_a_successor_that_fails_is_tried_again_while_the_one_before_serves(world: World) -> None:
    await world.watch(ONE)
    world.running = 100
    other = BesideSettings(ONE.config, "http://127.0.0.1:9999", ONE.version)
    assert await world.watch(other) == 2
    world.started[1].returncode = 1
    assert await world.watch() == 2
    world.clock.at += 60
    assert await world.watch() == 3


async def test_the_end_of_a_gateway_that_was_relieved_is_no_failure(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.watch(ONE)
    world.running = 4711  # somebody has upgraded it
    world.started[0].returncode = 0
    assert await world.watch() == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_revoked_token_is_replaced(world: World) -> None:
    await world.watch(ONE)
    first = (world.folder / TOKEN).read_text().strip()
    (token,) = world.tokens.list()
    world.tokens.revoke(token.id, 1000.0)
    world.started[0].returncode = 1
    await world.watch()
    world.clock.at += 60
    await world.watch()
    second = (world.folder / TOKEN).read_text().strip()
    assert second != first
    assert world.tokens.authenticate(second, 1000.0).role is Role.GATEWAY


async def test_one_that_is_wanted_no_more_serves_on_and_the_reload_says_how_to_stop_it(world: World) -> None:
    await world.watch(ONE)
    world.running = 100
    told = await world.part.configure(None)
    assert told == [f"process 100 serves on; end it with: controlplane gateway stop --data-dir {world.folder}"]
    assert await world.watch() == 1


async def test_its_log_begins_anew_when_it_is_large(world: World) -> None:
    world.folder.mkdir()
    log = world.folder / LOG
    with log.open("wb") as file:
        file.truncate(LOG_BYTES + 1)
    with log.open("ab") as writer:
        await world.watch(ONE)
        assert (log.stat().st_size, log.with_name(f"{LOG}.1").stat().st_size) == (0, LOG_BYTES + 1)
        writer.write(b"next\n")
    assert log.read_bytes() == b"next\n"


def test_settings_name_this_control_plane_unless_the_file_names_one(world: World, fleet: Write) -> None:
    def url(text: str) -> str | None:
        found = world.part.settings(Configuration(fleet(text), "0.0.0.0:8080"))
        return None if found is None else found.url

    assert url("") is None
    assert url("gateway: {beside: true}\n") == "http://127.0.0.1:8080"
    assert url("gateway: {beside: true, control_plane: {url: 'http://cp'}}\n") == ""


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("10.0.0.2:1", "10.0.0.2:1"),
        ("cp.example:1", "cp.example:1"),
    ],
)
def test_an_address_for_everybody_is_reached_at_loopback(listen: str, expected: str) -> None:
    assert reachable(listen) == expected


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
