"""The operators of label selectors, by the names of Kubernetes."""

from __future__ import annotations

from enum import StrEnum


class Operator(StrEnum):
    """Comparison of a label with values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"

    @property
    def has_values(self) -> bool:
        """Whether it compares with values."""
        return self in (Operator.IN, Operator.NOT_IN)
