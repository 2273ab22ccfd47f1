"""Faults of the S3 server: what goes wrong, at which operation, how often."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operation(StrEnum):
    """One operation of S3."""

    LIST = "list"
    GET = "get"
    HEAD = "head"
    PUT = "put"
    DELETE = "delete"
    BEGIN = "begin multipart"
    PART = "put part"
    COMPLETE = "complete multipart"
    ABORT = "abort multipart"


READS = (Operation.LIST, Operation.GET, Operation.HEAD)


class Kind(StrEnum):
    """What goes wrong."""

    RESET = "reset"
    """The connection is reset before anything is done."""
    RESET_AFTER = "reset after"
    """The operation is done, and the connection is reset before the answer."""
    ERROR = "error"
    """500 with an S3 error document."""
    SLOW_DOWN = "slow down"
    """503 SlowDown."""
    REFUSED = "refused"
    """403 AccessDenied."""
    TRUNCATED = "truncated"
    """The head promises the whole body, and the connection ends after half of it."""
    HANG = "hang"
    """The operation is not done, and no byte comes until the server ends."""
    HANG_AFTER_HEAD = "hang after the head"
    """The head and half of the body come, and then nothing."""
    LIE = "lie"
    """A byte of the body is another one."""
    WHOLE = "whole"
    """A range is ignored: 200 with the whole object."""
    GARBAGE = "garbage"
    """The answer is not HTTP."""


@dataclass
class Fault:
    """One fault. It counts down `times`; None: for ever."""

    kind: Kind
    operation: Operation | None = None
    """None: at every operation."""
    key: str = ""
    """Only where the key, or the prefix of a listing, contains this text."""
    times: int | None = None
    skip: int = 0
    """Operations that match and go well before it begins."""
    met: int = 0
    """Times that it struck."""

    def strikes(self, operation: Operation, key: str) -> bool:
        """Return whether it strikes here, and count it."""
        if self.operation not in (None, operation) or self.key not in key:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.met >= self.times:
            return False
        self.met += 1
        return True
