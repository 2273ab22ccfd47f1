"""Errors of the collectors.

CollectorError
├── CatalogueError          the name catalogue is malformed
├── DiscoveryError          a file_sd file cannot be read or parsed
├── LogsError               the patterns of log lines are malformed
├── RelabelError            a relabelling rule is one that Prometheus refuses
└── ScrapeError             one read of one source failed; `reason` is a short stable word for metrics
    ├── ScrapeTimeout       reason "timeout"
    ├── Unreachable         reason "unreachable": DNS, refused, reset, TLS
    ├── UnexpectedStatus    reason "status": not 200
    │   └── Redirected      a redirect, with its place
    ├── BodyTooLarge        reason "too-large": bytes, lines, label sizes or samples beyond the limit
    ├── ExpositionError     reason "malformed": the body is not the text exposition format
    ├── DrainedQueue        reason "drained": a read takes something away from other readers, so there is no next one
    ├── SourceUnmade        reason "internal": no source of the target could be made
    ├── Relabelled          reason "relabelled": metric_relabel_configs leave a sample without a name
    └── NvmlUnavailable     reason "unavailable": no NVIDIA driver, or NVML does not start
"""

from __future__ import annotations

from typing import ClassVar


class CollectorError(Exception):
    """Root of the errors of the collectors."""


class CatalogueError(CollectorError):
    """The name catalogue is malformed."""


class DiscoveryError(CollectorError):
    """A discovery source cannot be read. Its last good list stays in use."""


class LogsError(CollectorError):
    """The patterns of log lines are malformed."""


class RelabelError(CollectorError):
    """A relabelling rule is one that Prometheus refuses. The message begins with the rule's field."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(f"{field}: {sentence}")
        self.field, self.sentence = field, sentence


class ScrapeError(CollectorError):
    """One read of one source failed."""

    reason: ClassVar[str] = "error"


class ScrapeTimeout(ScrapeError):
    """The source did not finish within its deadline."""

    reason = "timeout"


class Unreachable(ScrapeError):
    """There is no connection: name resolution or TLS failed, or it was refused or reset."""

    reason = "unreachable"


class UnexpectedStatus(ScrapeError):
    """The source answered with another status than 200, or with redirects that are not followed."""

    reason = "status"
    status = 0
    """The status, where it is known."""


class Redirected(UnexpectedStatus):
    """The source answered with a redirect. Whoever asked decides whether to follow it."""

    def __init__(self, message: str, location: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.location = location
        """Value of the header Location. It can hold a session or a token, so no message shows it."""
        self.permanent = permanent
        """Whether the source has moved for good."""


class BodyTooLarge(ScrapeError):
    """The body exceeds a limit on bytes, lines, samples or label sizes."""

    reason = "too-large"


class ExpositionError(ScrapeError):
    """The body is not the text exposition format."""

    reason = "malformed"

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line
        """Line of the body, from 1; 0: the body as a whole."""
        self._message = message

    def in_a(self, foreign: str) -> ExpositionError:
        """Return the error with what the body is instead, in words; "" for an unknown body."""
        return ExpositionError(f"{self._message} ({foreign})", self.line) if foreign else self


class DrainedQueue(ScrapeError):
    """A read of this page takes something away from other readers. It is not read again."""

    reason = "drained"


class SourceUnmade(ScrapeError):
    """A bug kept the target's source from being made. Other targets go on."""

    reason = "internal"


class Relabelled(ScrapeError):
    """Rules of `metric_relabel_configs` leave a sample with labels, but without a name."""

    reason = "relabelled"


class NvmlUnavailable(ScrapeError):
    """NVML cannot be used on this host. The message is for operators."""

    reason = "unavailable"
