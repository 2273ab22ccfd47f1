"""The wall clock of a running control plane."""

from __future__ import annotations

import time


class SystemClock:
    """Implements alerts.interfaces.Clock with the machine's clock."""

    def now(self) -> float:
        """Return unix seconds."""
        return time.time()
