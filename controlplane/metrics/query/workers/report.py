"""Status of ad-hoc queries, in numbers."""

from __future__ import annotations

from typing import NamedTuple


class QueryReport(NamedTuple):
    """Numbers of ad-hoc queries for the control plane's own metrics. Counters begin with this process."""

    workers: int = 0
    running: int = 0
    waiting: int = 0
    refused: int = 0
    restarts: int = 0
