"""Errors of alerting.

AlertError
├── RuleError           a rule file or rule is wrong: file, group, rule, what was expected
│   └── ThresholdError  an override of a pack's variable does not fit: which variable, which of its fields
├── TemplateError       an annotation or label template cannot be rendered
├── QueryFailed         the querier failed; the rule's state freezes, nothing resolves
├── NotStored           the log cannot hold a rule's alerts; those of the others it can
├── NotReadable         a stored document is damaged, or of a newer release: why
└── DeliveryFailed      a notifier could not deliver; carries retry_after and permanent
"""

from __future__ import annotations


class AlertError(Exception):
    """Root of everything that alerting raises on purpose."""


class RuleError(AlertError):
    """A rule file or a rule in it is wrong. The message names the place; the attributes have it apart."""

    def __init__(self, message: str, *, file: str = "", line: int | None = None) -> None:
        place = f"{file}:{line}" if file and line else file
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.line, self.reason = file, line, message


class ThresholdError(RuleError):
    """An override of a pack's variable does not fit."""

    def __init__(self, sentence: str, name: str, field: str = "") -> None:
        super().__init__(": ".join(part for part in (f"threshold {name}", field, sentence) if part))
        self.name, self.field, self.sentence = name, field, sentence


class TemplateError(AlertError):
    """A template cannot be rendered."""


class QueryFailed(AlertError):
    """The querier failed: the result is unknown, which is not the same as empty."""


class NotStored(AlertError):
    """A rule's alerts cannot be stored, and trying again does not help: nothing of them was written."""


class NotReadable(AlertError):
    """A stored document cannot be read: it is damaged, or of a newer release. The message says why, not which one."""


class DeliveryFailed(AlertError):
    """A notifier could not deliver a message."""

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent
