"""Binary operators. Series are matched once a query, and values are computed over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.errors import QueryError
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.context import Evaluation
from controlplane.metrics.promql.frame import Frame, Groups, Scalars, Value, empty, join
from controlplane.metrics.promql.syntax.tree import Binary, VectorMatching
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.label_sets import Keep, LabelSets, group_key, label_value, with_label

_ARITHMETIC: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}

_COMPARISON: dict[str, Callable[[FloatArray, FloatArray], BoolArray]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}

SET_OPERATORS = ("and", "or", "unless")

OPERATORS = (*_ARITHMETIC, *_COMPARISON, *SET_OPERATORS)
"""All binary operators."""


def binary(evaluation: Evaluation, node: Binary) -> Value:
    """Evaluate a binary operation.

    Raises QueryError(execution) when series do not match as the query says, QueryError(bad_data) for a wrong operand.
    """
    left, right = evaluation.value(node.left), evaluation.value(node.right)
    evaluation.budget.check()
    if isinstance(left, Frame) and isinstance(right, Frame):
        if node.op in SET_OPERATORS:
            return _set_operation(node, left, right)
        return _between_vectors(node, left, right)
    if isinstance(left, Frame) and isinstance(right, Scalars):
        return _with_scalar(node, left, right.values, scalar_left=False)
    if isinstance(left, Scalars) and isinstance(right, Frame):
        return _with_scalar(node, right, left.values, scalar_left=True)
    if isinstance(left, Scalars) and isinstance(right, Scalars):
        return Scalars(_compute(node.op, left.values, right.values)[0])
    raise QueryError("bad_data", "binary expression must contain only scalar and instant vector types")


def _compute(op: str, left: FloatArray, right: FloatArray) -> tuple[FloatArray, BoolArray | None]:
    """Return the values, and a mask where a comparison holds. The values of a comparison are 0 and 1.

    Both have the broadcast shape of the operands. The mask of an arithmetic operator is None.
    """
    arithmetic = _ARITHMETIC.get(op)
    if arithmetic is not None:
        return arithmetic(left, right), None
    holds = _COMPARISON[op](left, right)
    return holds.astype(np.float64), holds


def _with_scalar(node: Binary, frame: Frame, scalar: FloatArray, *, scalar_left: bool) -> Frame:
    pair = (scalar[None, :], frame.values) if scalar_left else (frame.values, scalar[None, :])
    values, holds = _compute(node.op, *pair)
    if holds is None or node.bool_modifier:
        return frame.with_values(values).without_name()
    # A filter keeps the vector's own value, whether the vector is left or right.
    return frame.with_values(frame.values, frame.present & holds).occupied()


def _match_key(matching: VectorMatching) -> tuple[Keep, frozenset[str]]:
    """Return the labels by which the two sides are matched."""
    return "by" if matching.on else "without", frozenset(matching.labels)


def _set_operation(node: Binary, left: Frame, right: Frame) -> Frame:
    key = _match_key(node.matching)
    of_left, others = left.sets.grouping(*key).of_series, right.sets.grouping(*key)
    numbers = {labels: n for n, labels in enumerate(left.sets.grouping(*key).keys)}
    renumbered = np.array([numbers.setdefault(one, len(numbers)) for one in others.keys], dtype=np.int64)
    of_right = renumbered[others.of_series]
    if node.op == "or":
        taken = _any_present(left, of_left, len(numbers))
        extra = right.with_values(right.values, right.present & ~taken[of_right])
        both = Frame(
            [*left.labels, *extra.labels],
            np.concatenate((left.values, extra.values)),
            np.concatenate((left.present, extra.present)),
        )
        return join(both).occupied()
    there = _any_present(right, of_right, len(numbers))[of_left]
    keep = there if node.op == "and" else ~there
    return left.with_values(left.values, left.present & keep).occupied()


def _any_present(frame: Frame, of_series: IntArray, groups: int) -> BoolArray:
    """Return [groups, steps]: whether any series of a match group has a value."""
    result = np.zeros((groups, frame.present.shape[1]), dtype=np.bool_)
    if len(of_series):
        order = np.argsort(of_series, kind="stable")
        starts = np.flatnonzero(np.diff(of_series[order], prepend=-1))
        result[of_series[order][starts]] = np.logical_or.reduceat(frame.present[order], starts, axis=0)
    return result


def _between_vectors(node: Binary, left: Frame, right: Frame) -> Frame:
    matching = node.matching
    many, one = (right, left) if matching.many == "right" else (left, right)
    if not len(many.labels) or not len(one.labels):
        return empty(many.values.shape[1])
    groups, collapsed = _one_side(one, many.present.any(axis=0), matching)
    numbers = {key: n for n, key in enumerate(groups.keys)}
    wanted = many.sets.grouping(*_match_key(matching))
    partner = np.array([numbers.get(key, -1) for key in wanted.keys], dtype=np.int64)[wanted.of_series]
    rows = np.flatnonzero(partner >= 0)
    many, partner = many.take(rows), partner[rows]
    others = collapsed.take(partner)
    operands = (others.values, many.values) if matching.many == "right" else (many.values, others.values)
    values, holds = _compute(node.op, *operands)
    present = many.present & others.present
    labels = _result_labels(node, many, one, groups, partner)
    if labels is None:
        mine, theirs = _split_by_partner(groups, partner)
        labels = _with_included(node, many.take(mine), [one.labels[row] for row in theirs.tolist()])
        values, partner, present = values[mine], partner[mine], present[mine] & one.present[theirs]
        holds, operands = None if holds is None else holds[mine], (operands[0][mine], operands[1][mine])
    labels = LabelSets.of(labels)
    _refuse_ambiguity(matching, partner, labels, present)
    if holds is not None and not node.bool_modifier:
        values, present = operands[0], present & holds
    return join(Frame(labels, values, present)).occupied()


def _one_side(one: Frame, needed: BoolArray, matching: VectorMatching) -> tuple[Groups, Frame]:
    """Reduce the one side to one series a match group, in the groups' order.

    `needed` [steps] is true where the many side has any series. Raises QueryError(execution) when a group has two
    series at such a step.
    """
    groups = Groups(one.sets.grouping(*_match_key(matching)))
    if len(groups.keys) == len(one.labels):
        return groups, one
    counts = groups.reduce(np.add, one.present.astype(np.int64))
    clash = (counts > 1) & needed
    if clash.any():
        number = int(np.flatnonzero(clash.any(axis=1))[0])
        first, second = np.flatnonzero(groups.of_series == number)[:2].tolist()
        side = "left" if matching.many == "right" else "right"
        raise QueryError(
            "execution",
            f"found duplicate series for the match group {_shown(groups.keys[number])} on the {side} hand-side of the "
            f"operation: [{_shown(one.labels[first])}, {_shown(one.labels[second])}];many-to-many matching not "
            "allowed: matching labels must be unique on one side",
        )
    values = groups.reduce(np.add, np.where(one.present, one.values, 0.0))
    return groups, Frame(groups.keys, values, counts == 1)


def _result_labels(node: Binary, many: Frame, one: Frame, groups: Groups, partner: IntArray) -> Sequence[Labels] | None:
    """Return the result's labels. None if an included label differs between the series of one match group.

    `partner` [series of the many side] is the match group of each series.
    """
    matching = node.matching
    if matching.many == "none":
        if not _keeps_name(node):
            return groups.keys.nameless().take(
                partner
            )  # `on (__name__)` matches by the name, and drops it all the same
        if matching.on:
            return groups.keys.take(partner)
        kept = many.sets.grouping("except", frozenset(matching.labels))
        return kept.keys.take(kept.of_series)
    if not matching.include:
        return many.sets if _keeps_name(node) else many.sets.nameless()
    some = [one.labels[int(group[0])] for group in groups.members()]
    if len(groups.keys) < len(one.labels):
        included = frozenset(matching.include)
        copied = [group_key(labels, "by", included) for labels in one.labels]
        differs = {
            int(g)
            for g, mine in zip(groups.of_series, copied, strict=True)
            if mine != group_key(some[g], "by", included)
        }
        if differs & set(partner.tolist()):
            return None
    return _with_included(node, many, [some[group] for group in partner.tolist()])


def _keeps_name(node: Binary) -> bool:
    """Return whether results keep the metric's name: a comparison without `bool` filters the samples of one side."""
    return node.op in _COMPARISON and not node.bool_modifier


def _with_included(node: Binary, many: Frame, partners: Sequence[Labels]) -> Sequence[Labels]:
    """Return the many side's labels, with the labels that `group_left` or `group_right` copies from the partners."""
    result = []
    for labels, partner in zip(many.sets if _keeps_name(node) else many.sets.nameless(), partners, strict=True):
        for name in node.matching.include:
            labels = with_label(labels, name, label_value(partner, name))
        result.append(labels)
    return result


def _split_by_partner(groups: Groups, partner: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows of the many side and of the one side, int64 of shape [pairs], for every pair in a match group.

    Several series of the one side are in a group if they have values at different steps.
    """
    members = list(groups.members())
    counts = [len(members[group]) for group in partner.tolist()]
    theirs = np.concatenate([members[group] for group in partner.tolist()])
    return np.repeat(np.arange(len(partner)), counts), theirs


def _refuse_ambiguity(matching: VectorMatching, partner: IntArray, labels: LabelSets, present: BoolArray) -> None:
    """Raise QueryError(execution) if several pairs of a match group have values at one step, before any filter.

    In one-to-one matching a group may have one pair. Otherwise it may have one pair for each label set of the result.
    """
    pairs = partner if matching.many == "none" else partner * len(labels) + labels.same().of_series
    distinct, of_row = np.unique(pairs, return_inverse=True)
    if len(distinct) == len(pairs):
        return
    counts = np.zeros((len(distinct), present.shape[1]), dtype=np.int64)
    np.add.at(counts, of_row.reshape(-1), present)
    if (counts > 1).any():
        reason = (
            "many-to-one matching must be explicit (group_left/group_right)"
            if matching.many == "none"
            else "grouping labels must ensure unique matches"
        )
        raise QueryError("execution", f"multiple matches for labels: {reason}")


def _shown(labels: Labels) -> str:
    name = label_value(labels, METRIC_NAME)
    return name + "{" + ", ".join(f'{k}="{v}"' for k, v in labels if k != METRIC_NAME) + "}"
