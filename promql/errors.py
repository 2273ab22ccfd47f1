"""Errors of PromQL's syntax.

PromqlError
├── ExpressionError     an expression is not valid PromQL, or uses a feature that is not supported: why, and where
└── PatternError        a regular expression is not valid, in Prometheus's words
"""

from __future__ import annotations


class PromqlError(Exception):
    """Root of the errors of this package."""


class ExpressionError(PromqlError, ValueError):
    """An expression is not valid PromQL, or uses a feature that is not supported."""


class PatternError(PromqlError, ValueError):
    """A regular expression is not valid for RE2, or is too large. The message begins with "error parsing regexp: "."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(f"error parsing regexp: {reason}")
        self.too_large = too_large
