"""Small packs for tests of many steps: a tree of a few megabytes then takes several packs."""

from __future__ import annotations

import pytest

from controlplane.backup.format import pack


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make packs of 1 MiB, with chunks as they are."""
    monkeypatch.setattr(pack, "PACK_BYTES", 1 << 20)
