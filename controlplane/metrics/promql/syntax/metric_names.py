"""Metric names and selectors that an expression reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from controlplane.metrics.promql.syntax.tree import Selector, parse
from controlplane.metrics.series.matchers import MatchOp


def metric_names(expr: str) -> frozenset[str]:
    """Return the metric names that an expression selects, with "" for a selector that names no metric.

    Raises QueryError when the expression is not valid.
    """
    return frozenset(_name(selector) for selector in selectors(parse(expr)))


def _name(selector: Selector) -> str:
    found = (m.value for m in selector.matchers if m.name == "__name__" and m.op is MatchOp.EQUAL)
    return next(found, "")


def selectors(node: Any) -> Iterator[Selector]:
    """Yield the selectors in a syntax tree, or in a part of one."""
    if isinstance(node, Selector):
        yield node
        return
    for part in parts(node):
        yield from selectors(part)


def parts(node: Any) -> Iterator[Any]:
    """Yield the fields of a node of a syntax tree, or the elements of a tuple."""
    if isinstance(node, tuple):
        yield from node
    elif is_dataclass(node):
        for field in fields(node):
            yield getattr(node, field.name)
