"""The labels that a query's result can have, derived from its syntax alone."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.metrics.promql.syntax.tree import (
    Aggregate,
    Binary,
    Call,
    Negate,
    Node,
    Number,
    Range,
    Selector,
    String,
    Subquery,
    metric_name,
    nested,
)
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import MatchOp

LabelNames = frozenset[str] | None
"""Label names. None: any label is possible."""

NO_LABELS: frozenset[str] = frozenset()
_SELECTING = ("topk", "bottomk", "limitk", "limit_ratio")
_WITHOUT_LABELS = ("scalar", "time", "vector", "pi")
_OF_BUCKETS = ("histogram_quantile", "histogram_fraction")


def result_labels(node: Node, recorded: Mapping[str, LabelNames]) -> LabelNames:
    """Return the labels that a result can have. `recorded` holds the labels of recorded series, by name."""
    match node:
        case Number() | String():
            return NO_LABELS
        case Selector():
            return recorded.get(metric_name(node) or "")
        case Range():
            return result_labels(node.selector, recorded)
        case Subquery() | Negate():
            return result_labels(node.expr, recorded)
        case Aggregate():
            return _of_aggregate(node, recorded)
        case Call():
            return _of_call(node, recorded)
        case Binary():
            return _of_binary(node, recorded)


def selectors(node: Node) -> list[Selector]:
    """Return every selector of a query, from left to right."""
    return [part for part in nested(node) if isinstance(part, Selector)]


def _of_aggregate(node: Aggregate, recorded: Mapping[str, LabelNames]) -> LabelNames:
    inner = result_labels(node.expr, recorded)
    if node.op in _SELECTING:
        return inner
    grouping = frozenset(node.labels)
    if node.without:
        kept = None if inner is None else inner - grouping
    else:
        kept = grouping if inner is None else grouping & inner
    if node.op == "count_values" and isinstance(node.param, String) and kept is not None:
        kept |= {node.param.value}
    return kept


def _of_call(node: Call, recorded: Mapping[str, LabelNames]) -> LabelNames:
    vectors = [arg for arg in node.args if arg.kind in ("vector", "matrix")]
    if node.name in _WITHOUT_LABELS or not vectors:
        return NO_LABELS
    inner = result_labels(vectors[0], recorded)
    if node.name.startswith("absent"):
        found = selectors(vectors[0])
        return frozenset(m.name for s in found for m in s.matchers if m.op is MatchOp.EQUAL) - {METRIC_NAME}
    if inner is None:
        return None
    if node.name in ("label_replace", "label_join"):
        target = node.args[1]
        return inner | {target.value} if isinstance(target, String) else None
    return inner - {"le"} if node.name in _OF_BUCKETS else inner


def _of_binary(node: Binary, recorded: Mapping[str, LabelNames]) -> LabelNames:
    left, right = result_labels(node.left, recorded), result_labels(node.right, recorded)
    if node.left.kind == "scalar" or node.right.kind == "scalar":
        return right if node.left.kind == "scalar" else left
    if node.op in ("and", "unless"):
        return left
    if node.op == "or":
        return None if left is None or right is None else left | right
    matching = node.matching
    if matching.many != "none":
        many = left if matching.many == "left" else right
        return None if many is None else many | set(matching.include)
    names = frozenset(matching.labels)
    if matching.on:
        return names if left is None else names & left
    return None if left is None else left - names
