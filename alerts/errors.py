"""Errors of alerting.

AlertError
├── RuleError           a file of rules or of routes is wrong; the message names file, line and what was expected
│   ├── ThresholdError  an override of a pack's variable does not fit; the message names the variable and its field
│   └── NoDataError     a policy for missing data is for an alert that no loaded pack has
├── MatcherError        a matcher of labels cannot be read
├── TemplateError       an annotation or label template cannot be rendered
├── QueryFailed         a query failed; the rule's alerts keep their states, nothing resolves
├── NotStored           the alerts of one rule cannot be stored; other rules are not affected
├── NotReadable         a stored document is damaged, or of a newer release; the message says why
└── DeliveryFailed      a notifier could not deliver; carries retry_after and permanent
"""

from __future__ import annotations


class AlertError(Exception):
    """Root of the errors of alerting."""


class RuleError(AlertError):
    """A file of rules or of routes is wrong. The message is `file:line: reason`; the attributes hold the parts."""

    def __init__(self, message: str, *, file: str = "", line: int | None = None) -> None:
        place = f"{file}:{line}" if file and line else file
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.line, self.reason = file, line, message


class ThresholdError(RuleError):
    """An override of a pack's variable does not fit."""

    def __init__(self, sentence: str, name: str, field: str = "") -> None:
        super().__init__(": ".join(part for part in (f"threshold {name}", field, sentence) if part))
        self.name, self.field, self.sentence = name, field, sentence


class NoDataError(RuleError):
    """A policy for missing data is for an alert that no loaded pack has."""

    def __init__(self, sentence: str, name: str) -> None:
        super().__init__(f"policy for missing data of {name}: {sentence}")
        self.name, self.sentence = name, sentence


class MatcherError(AlertError):
    """A matcher of labels cannot be read."""


class TemplateError(AlertError):
    """A template cannot be rendered."""


class QueryFailed(AlertError):
    """A query failed. Its result is unknown, which is not the same as empty."""


class NotStored(AlertError):
    """The alerts of a rule cannot be stored, and a retry does not help. None of them was written."""


class NotReadable(AlertError):
    """A stored document is damaged, or of a newer release. The message says why; the caller names the document."""


class DeliveryFailed(AlertError):
    """A notifier could not deliver a message."""

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent
