"""The desired state in force: what is handed out, kept and held on to."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from controlplane.gateway.desired.codec import decode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired
from controlplane.gateway.process.state import applying
from controlplane.gateway.process.state.applying import Applying, differences
from controlplane.gateway.process.state.last_good import LastGood
from controlplane.gateway.process.workers import State
from tests.fakes.gateway_control_plane import desired_of
from tests.patience import until

ONE, TWO = desired_of(1, v1=(1000, "http://a:1")), desired_of(2, v1=(950, "http://a:1"), v2=(50, "http://b:1"))


class FakeWorkers:
    """Applies everything but the revision `refuse`."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.refuse = ""

    async def apply(self, state: State) -> str:
        assert decode(state.body).revision == state.revision
        self.states.append(state.revision)
        return "no room" if state.revision == self.refuse else ""


class FakeKeeper:
    """Notes (revision, shares), and has too many limits in the revision `full`."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, dict[str, float]]] = []
        self.full = ""

    def apply(self, desired: Desired, now: float) -> None:
        if desired.revision == self.full:
            raise BadDesired("more limits than slots")
        self.applied.append((desired.revision, dict(desired.shares)))


class World:
    def __init__(self, folder: Path) -> None:
        self.workers, self.keeper, self.disk = FakeWorkers(), FakeKeeper(), LastGood(folder)
        self.began = 0
        self.applying = Applying(self.workers, self.keeper, self.disk, self.first)  # type: ignore[arg-type]

    def first(self) -> None:
        self.began += 1

    def stored(self) -> Desired | None:
        kept = self.disk.read()
        return kept.desired if kept else None


async def test_a_state_reaches_limits_workers_and_disk_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.applying.apply(ONE, "cp")
    await world.applying.apply(ONE, "cp again")
    assert world.workers.states == [ONE.revision]
    assert world.keeper.applied == [(ONE.revision, {})]
    assert (world.applying.desired, world.applying.origin, world.began) == (ONE, "cp again", 1)
    assert world.stored() == ONE
    await world.applying.apply(TWO, "cp")
    assert (world.stored(), world.began) == (TWO, 1)


async def test_a_state_from_the_disk_is_not_written_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.applying.apply(ONE, "disk", keep=False)
    assert world.stored() is None


@pytest.mark.parametrize("who", ["workers", "keeper"])
async def test_a_refused_state_leaves_everything_as_it_was(tmp_path: Path, who: str) -> None:
    world = World(tmp_path)
    await world.applying.apply(ONE, "cp")
    world.workers.refuse = TWO.revision if who == "workers" else ""
    world.keeper.full = TWO.revision if who == "keeper" else ""
    with pytest.raises(BadDesired):
        await world.applying.apply(TWO, "cp")
    assert (world.applying.desired, world.stored()) == (ONE, ONE)
    assert world.keeper.applied[-1] == (ONE.revision, {})


async def test_a_full_disk_stops_no_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path / "nowhere")
    await world.applying.apply(ONE, "cp")
    assert world.applying.desired == ONE
    assert (
        "cannot be written: No such file or directory; without it a restart begins with an older state" in caplog.text
    )


async def test_shares_change_the_limits_and_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.applying.share({"*": 0.5})
    assert world.keeper.applied == []  # there are no limits yet
    await world.applying.apply(ONE, "cp")
    world.applying.share({"*": 0.5})
    world.applying.share({"*": 0.5})
    assert world.keeper.applied == [(ONE.revision, {}), (ONE.revision, {"*": 0.5})]
    assert world.workers.states == [ONE.revision]


async def test_a_new_state_keeps_the_shares_until_a_report_brings_others(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.applying.apply(ONE, "cp")
    world.applying.share({"*": 0.5})
    await world.applying.apply(TWO, "cp")
    assert world.keeper.applied[-1] == (TWO.revision, {"*": 0.5})
    assert all(shares for _, shares in world.keeper.applied[1:]), "no limit was ever wholly this gateway's again"


async def test_shares_reach_the_disk_without_a_new_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "SHARES_S", 0.0)
    world = World(tmp_path)
    await world.applying.apply(ONE, "cp")
    keeping = asyncio.create_task(world.applying.keep())
    for shares in ({"*": 0.5}, {"*": 0.25, "key/a": 0.125}, {}):
        world.applying.share(shares)
        await until(partial(lambda shares: (stored := world.stored()) is not None and stored.shares == shares, shares))
        stored = world.stored()
        assert stored is not None and stored.revision == ONE.revision
    keeping.cancel()
    assert stored is not None
    again = World(tmp_path)
    await again.applying.apply(stored, "disk", keep=False)
    assert again.keeper.applied == [(ONE.revision, {})]


async def test_a_full_disk_stops_no_shares(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "SHARES_S", 0.0)
    world = World(tmp_path / "gone")
    await world.applying.apply(ONE, "cp")
    keeping = asyncio.create_task(world.applying.keep())
    world.applying.share({"*": 0.5})
    await until(lambda: "without it a restart begins with older shares of limits" in caplog.text)
    assert world.keeper.applied[-1] == (ONE.revision, {"*": 0.5})
    keeping.cancel()


@pytest.mark.parametrize("damage", ["{", "[]", '{"*": "x"}', '{"*": null}'])
async def test_damaged_shares_leave_those_of_the_state(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    await world.applying.apply(replace(ONE, shares={"*": 0.5}), "cp")
    (tmp_path / "shares.json").write_text(damage)
    stored = world.stored()
    assert stored is not None and stored.shares == {"*": 0.5}
    assert "the shares of the last desired state count" in caplog.text


async def test_two_states_at_once_are_applied_one_after_the_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    await asyncio.gather(world.applying.apply(ONE, "cp"), world.applying.apply(TWO, "cp"))
    assert world.workers.states == [ONE.revision, TWO.revision]
    assert (world.applying.desired, world.stored()) == (TWO, TWO)


def test_changes_are_told_as_sentences() -> None:
    assert differences(None, TWO)[1:] == ["chat: generation 2: v1 95%, v2 5%"]
    assert differences(TWO, TWO)[1:] == []
    assert differences(ONE, TWO)[1:] == ["chat: generation 2: v1 95%, v2 5%"]
    assert differences(TWO, ONE)[1:] == [
        "chat: generation 1 after 2: v1 100%; the control plane's database is an older one, and what it says is applied"
    ]
    assert differences(ONE, Desired("empty"))[1:] == ["chat: is served no more"]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
