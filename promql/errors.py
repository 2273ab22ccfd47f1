"""Errors of PromQL's syntax.

PromqlError
├── ExpressionError     an expression is no PromQL, or none that is supported: why, and where
└── PatternError        a regular expression is none, in Prometheus's words
"""

from __future__ import annotations


class PromqlError(Exception):
    """Root of what is wrong with an expression or a pattern."""


class ExpressionError(PromqlError, ValueError):
    """An expression is no PromQL, or none that is supported."""


class PatternError(PromqlError, ValueError):
    """A regular expression is none of RE2, or too large. The message is what follows "error parsing regexp: "."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(f"error parsing regexp: {reason}")
        self.too_large = too_large
