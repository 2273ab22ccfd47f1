"""The desired state from the own fleet.yaml."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from controlplane.config.loader import load_fleet
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired
from controlplane.gateway.process.state import own_file
from controlplane.gateway.process.state.own_file import OwnFile, later, stamp
from tests.patience import until

FLEET = """\
fleet: {{name: a}}
gateway: {{authentication: none{more}}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: none}}
    versions: {{v1: {{backends: [{{url: "{url}", engine: vllm}}]}}}}
"""


class World:
    """A watched file, and the backends of each state that was applied."""

    def __init__(self, path: Path, *, follows: bool = False) -> None:
        self.path = path
        self.applied: list[str] = []
        self.refuse = ""
        self.write("http://a:1")
        self.file = OwnFile(load_fleet(path), None if follows else self.apply)

    def write(self, url: str, more: str = "") -> None:
        self.path.write_text(FLEET.format(url=url, more=more))

    async def apply(self, desired: Desired, origin: str) -> None:
        assert origin == str(self.path)
        (model,) = desired.models
        url = model.versions[0].backends[0].url
        if url == self.refuse:
            raise BadDesired("too many limits")
        self.applied.append(url)

    async def again(self) -> None:
        """Read the file, and wait until that is done."""
        self.file.again.set()
        await until(lambda: not self.file.again.is_set())


async def test_each_good_file_is_applied_and_a_bad_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path / "fleet.yaml")
    await world.file.begin()
    running = asyncio.create_task(world.file.run())
    world.write("http://b:1")
    await world.again()
    await until(lambda: world.applied == ["http://a:1", "http://b:1"])
    world.path.write_text("fleet: {name: a}\ngateway: {lissten: x}\n")
    await world.again()
    await until(lambda: "lissten" in world.file.fault)
    assert "gateway.lissten: unknown field; did you mean 'listen'" in caplog.text
    assert "the old configuration stays" in caplog.text
    world.refuse = "http://c:1"
    world.write("http://c:1")
    await world.again()
    await until(lambda: "too many limits" in world.file.fault)
    world.write("http://d:1")
    await world.again()
    await until(lambda: world.applied[-1] == "http://d:1")
    await until(lambda: world.file.fault == "")
    running.cancel()


async def test_a_changed_file_is_noticed_and_an_unchanged_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_file, "WATCH_S", 0.01)
    world = World(tmp_path / "fleet.yaml")
    running = asyncio.create_task(world.file.run())
    await asyncio.sleep(0.05)
    assert world.applied == []
    world.write("http://longer:1")
    await until(lambda: world.applied == ["http://longer:1"])
    running.cancel()


async def test_a_gateway_with_a_control_plane_only_says_what_takes_effect_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path / "fleet.yaml", follows=True)
    await world.file.begin()
    running = asyncio.create_task(world.file.run())
    world.write("http://b:1", ", workers: 3, tenants: {a: {weight: 2}}")
    await world.again()
    await until(lambda: "gateway.workers: takes effect at the next start or upgrade (SIGUSR2)" in caplog.text)
    assert world.applied == []
    running.cancel()


def test_fields_of_the_process_take_effect_later(tmp_path: Path) -> None:
    world = World(tmp_path / "fleet.yaml")
    first = load_fleet(world.path)
    world.write("http://b:1", ", listen: '127.0.0.1:1', drain_timeout: 1s, tenants: {a: {weight: 2}}")
    assert later(first, load_fleet(world.path)) == ["listen", "drain_timeout"]


def test_the_stamp_of_a_file_changes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    assert stamp(path) == (0, 0, 0)
    path.write_text("one")
    first = stamp(path)
    other = tmp_path / "other"
    other.write_text("two")
    other.replace(path)
    assert stamp(path) != first


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
