"""Errors of the collectors.

CollectorError
├── CatalogueError          the name catalogue is malformed
├── DiscoveryError          a file_sd file cannot be read or parsed
└── ScrapeError             one read of one source failed; `reason` is a short stable word for metrics
    ├── ScrapeTimeout       reason "timeout"
    ├── Unreachable         reason "unreachable": DNS, refused, reset, TLS
    ├── UnexpectedStatus    reason "status": not 200
    ├── BodyTooLarge        reason "too-large": bytes, lines, label sizes or samples beyond the limit
    ├── ExpositionError     reason "malformed": the body is not the text exposition format
    └── NvmlUnavailable     reason "unavailable": no NVIDIA driver, or NVML does not start
"""

from __future__ import annotations

from typing import ClassVar


class CollectorError(Exception):
    """Root of everything that the collectors raise on purpose."""


class CatalogueError(CollectorError):
    """The name catalogue is malformed."""


class DiscoveryError(CollectorError):
    """A discovery source cannot be read. The last good list stays in force."""


class ScrapeError(CollectorError):
    """One read of one source failed."""

    reason: ClassVar[str] = "error"


class ScrapeTimeout(ScrapeError):
    """The source did not finish within its deadline."""

    reason = "timeout"


class Unreachable(ScrapeError):
    """No connection: name resolution, refusal, reset or TLS."""

    reason = "unreachable"


class UnexpectedStatus(ScrapeError):
    """The source answered with another status than 200 (redirects included)."""

    reason = "status"


class BodyTooLarge(ScrapeError):
    """The body breaks a limit on bytes, lines, samples or label sizes."""

    reason = "too-large"


class ExpositionError(ScrapeError):
    """The body is not the text exposition format."""

    reason = "malformed"

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line
        """1-based line of the body; 0 when it is the body as a whole."""


class NvmlUnavailable(ScrapeError):
    """NVML cannot be used on this host. The message is fit for an operator."""

    reason = "unavailable"
