"""Errors of verbs. Each prints one sentence on stderr and ends with an exit code that scripts can rely on.

CliError
├── VerdictNegative      1: done, and the answer is no
├── WrongUsage           2: bad input
└── ServerUnreachable    3: no control plane answered
"""

from __future__ import annotations

from typing import ClassVar


class CliError(Exception):
    """Ends the program with `exit_code` after printing the message and its reasons."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class VerdictNegative(CliError):
    """The control plane did its work and the answer is no."""


class WrongUsage(CliError):
    """The command line or its input is wrong."""

    exit_code = 2


class ServerUnreachable(CliError):
    """No control plane answered."""

    exit_code = 3
