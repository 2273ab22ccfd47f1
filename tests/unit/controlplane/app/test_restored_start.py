"""A control plane that starts on a database that was restored from a backup only observes, until it is released."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.app.wiring import ControlPlane, running
from controlplane.config.loader import LoadedFleet
from controlplane.errors import Unavailable
from controlplane.fleet.desired import DesiredFeed
from controlplane.store.backups.restored import put_on_hold, release
from controlplane.store.database import Database
from controlplane.store.migrate import migrate

Write = Callable[[str], LoadedFleet]


def feed(plane: ControlPlane) -> DesiredFeed:
    found = plane.gateways.feed
    assert isinstance(found, DesiredFeed)
    return found


async def test_a_restored_database_makes_the_control_plane_observe_and_gateways_get_no_state(
    fleet: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'controlplane.db'}")
    migrate(db)
    with db.transaction() as session:
        put_on_hold(session, "20260101T000000Z-aa", 1.0, 2.0)
    loaded = fleet("")
    async with running(loaded, tmp_path, None, "127.0.0.1:8080", observe_only=False) as (plane, _):
        assert plane.observe_only
        assert plane.rolling.service.observe_only
        with pytest.raises(Unavailable, match="restored from the backup 20260101T000000Z-aa"):
            await feed(plane).after("", 0.0)
        assert await feed(plane).limits() == {}, "reports of gateways are still read"
    assert "`controlplane backup release` and a restart let it act" in caplog.text

    release(db, "ann", 3.0, drop_messages=False)
    db.close()
    async with running(loaded, tmp_path, None, "127.0.0.1:8080", observe_only=False) as (plane, _):
        assert not plane.observe_only
        assert not plane.rolling.service.observe_only
        assert await feed(plane).after("", 0.0)
