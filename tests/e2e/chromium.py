"""The Chromium of the tests of the console."""

from __future__ import annotations

from tests.patience import HANG_S

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
WAIT_MS = HANG_S * 1000
"""For what takes the control plane several turns: a rollout verifies its version for 5 s."""
