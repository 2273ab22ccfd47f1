"""Which metrics an expression reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from controlplane.metrics.matchers import MatchOp
from controlplane.metrics.syntax import Selector, parse


def metric_names(expr: str) -> frozenset[str]:
    """Return the metric names that PromQL selects; `` for a selector that does not say one. Raises QueryError."""
    return frozenset(_name(selector) for selector in _selectors(parse(expr)))


def _name(selector: Selector) -> str:
    found = (m.value for m in selector.matchers if m.name == "__name__" and m.op is MatchOp.EQUAL)
    return next(found, "")


def _selectors(node: Any) -> Iterator[Selector]:
    if isinstance(node, Selector):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from _selectors(part)
    elif is_dataclass(node):
        for field in fields(node):
            yield from _selectors(getattr(node, field.name))
