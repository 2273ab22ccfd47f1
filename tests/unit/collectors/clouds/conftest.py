"""A busy machine must not decide whether a renewed credential is here in time."""

from __future__ import annotations

import pytest

from collectors.clouds.kept import Kept
from tests.patience import HANG_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "patience_s", HANG_S)
