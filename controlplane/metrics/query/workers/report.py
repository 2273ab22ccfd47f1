"""How ad-hoc queries do, in numbers."""

from __future__ import annotations

from typing import NamedTuple


class QueryReport(NamedTuple):
    """For the control plane's own metrics. Counters are since the start of this process."""

    workers: int = 0
    running: int = 0
    waiting: int = 0
    refused: int = 0
    restarts: int = 0
