"""Files of notifiers and rotas: a FIFO is refused at once, and keeps no thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alerts.errors import DeliveryFailed
from controlplane.app.notifying.secrets import Secret
from controlplane.app.rotas.part import content_of
from controlplane.fleet.rota.calendar import CalendarError

WHY = "cannot be read: it is no regular file"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "secret")
    return tmp_path / "secret"


def test_a_notifiers_secret(fifo: Path) -> None:
    with pytest.raises(DeliveryFailed, match=WHY):
        Secret("notifier ops", "token", None, fifo)()


def test_a_rotas_calendar(fifo: Path) -> None:
    with pytest.raises(CalendarError, match=WHY):
        content_of(fifo)
