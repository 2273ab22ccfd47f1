"""A snapshot of choosing in one worker, for logs, tests and metrics."""

from __future__ import annotations

from typing import NamedTuple


class BackendReport(NamedTuple):
    """One backend of one version."""

    model: str
    version: str
    backend: str
    """Its URL."""
    requests: int
    """Open requests of this worker."""
    work: int
    """Tokens that are outstanding in them."""
    ejected: bool
    draining: bool


class ModelReport(NamedTuple):
    """One model."""

    model: str
    waiting: int
    """Requests that wait in this worker."""
    waited_s: float
    """Wait of the one that waits longest, in seconds. 0.0: none waits."""
    drain_rate: float | None
    """Requests that end in a second. None: not known."""
    cached_bytes: int
    """Bytes in the response cache."""


class Report(NamedTuple):
    """Everything."""

    models: tuple[ModelReport, ...]
    backends: tuple[BackendReport, ...]
