"""Binary operators. Series are matched once a query; values are computed over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.errors import QueryError
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.evaluation import Evaluation
from controlplane.metrics.frame import (
    Frame,
    Groups,
    Scalars,
    Value,
    drop_name,
    drop_names,
    empty,
    join,
    keep_only,
    label_value,
    with_label,
)
from controlplane.metrics.index import METRIC_NAME
from controlplane.metrics.label_sets import LabelSets
from controlplane.metrics.syntax import Binary, VectorMatching

Signature = Callable[[Sequence[Labels]], LabelSets]
"""What of each series' labels must be equal for two to match."""

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
    """Evaluate a binary operation. Raises QueryError(execution) where series do not match as the query says."""
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
    """Return values, and for comparisons where they hold (the values are then 0 and 1)."""
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
    # A filter keeps the vector's own value, on whichever side it stands.
    return frame.with_values(frame.values, frame.present & holds).occupied()


def _signature(matching: VectorMatching) -> Signature:
    names = frozenset(matching.labels)
    change = keep_only if matching.on else drop_names
    return lambda labels: LabelSets.of(labels).mapped((matching.on, names), lambda one: change(one, names))


def _numbered(frame: Frame, signature: Signature, numbers: dict[Labels, int]) -> list[int]:
    """Return the match group of each series; groups are numbered in `numbers`, which both sides share."""
    return [numbers.setdefault(key, len(numbers)) for key in signature(frame.labels)]


def _set_operation(node: Binary, left: Frame, right: Frame) -> Frame:
    numbers: dict[Labels, int] = {}
    signature = _signature(node.matching)
    of_left, of_right = _numbered(left, signature, numbers), _numbered(right, signature, numbers)
    steps = left.values.shape[1]
    if node.op == "or":
        taken = _any_present(left, of_left, len(numbers), steps)
        extra = right.with_values(right.values, right.present & ~taken[of_right]) if of_right else right
        both = Frame(
            [*left.labels, *extra.labels],
            np.concatenate((left.values, extra.values)),
            np.concatenate((left.present, extra.present)),
        )
        return join(both).occupied()
    if not of_left:
        return left
    there = _any_present(right, of_right, len(numbers), steps)[of_left]
    keep = there if node.op == "and" else ~there
    return left.with_values(left.values, left.present & keep).occupied()


def _any_present(frame: Frame, of_series: list[int], groups: int, steps: int) -> BoolArray:
    """Return [groups, steps]: whether any series of a match group has a value."""
    result = np.zeros((groups, steps), dtype=np.bool_)
    np.logical_or.at(result, of_series, frame.present)
    return result


def _between_vectors(node: Binary, left: Frame, right: Frame) -> Frame:
    matching = node.matching
    many, one = (right, left) if matching.many == "right" else (left, right)
    signature = _signature(matching)
    steps = many.values.shape[1]
    if not len(many.labels) or not len(one.labels):
        return empty(steps)
    side = "left" if matching.many == "right" else "right"
    groups, collapsed, exemplars = _one_side(one, many.present.any(axis=0), signature, side)
    numbers = {key: n for n, key in enumerate(groups.keys)}
    pairs = [(n, numbers[key]) for n, key in enumerate(signature(many.labels)) if key in numbers]
    if not pairs:
        return empty(steps)
    rows, partner = np.array(pairs, dtype=np.int64).T
    many, others = many.take(rows), collapsed.take(partner)
    operands = (others.values, many.values) if matching.many == "right" else (many.values, others.values)
    values, holds = _compute(node.op, *operands)
    present = many.present & others.present
    labels = _result_labels(node, many, [exemplars[p] for p in partner])
    if labels is None:
        mine, theirs = _split_by_partner(groups, partner)
        labels = _result_labels(node, many.take(mine), [[one.labels[int(m)]] for m in theirs])
        assert labels is not None
        values, partner, present = values[mine], partner[mine], present[mine] & one.present[theirs]
        holds, operands = None if holds is None else holds[mine], (operands[0][mine], operands[1][mine])
    _refuse_ambiguity(matching, partner.tolist(), labels, present)
    if holds is not None and not node.bool_modifier:
        values, present = operands[0], present & holds
    return join(Frame(labels, values, present)).occupied()


def _one_side(
    one: Frame, needed: BoolArray, signature: Signature, side: str
) -> tuple[Groups, Frame, list[list[Labels]]]:
    """Collapse the one side to a series per match group; return also the labels that make up each."""
    groups = Groups.of(signature(one.labels), lambda key: key, "whole")
    members = [[one.labels[int(m)] for m in rows] for rows in groups.members()]
    if len(groups.keys) == len(one.labels):
        return groups, one, members
    counts = groups.reduce(np.add, one.present.astype(np.int64))
    clash = (counts > 1) & needed
    if clash.any():
        number = int(np.flatnonzero(clash.any(axis=1))[0])
        first, second = members[number][:2]
        raise QueryError(
            "execution",
            f"found duplicate series for the match group {_shown(groups.keys[number])} on the {side} hand-side of the "
            f"operation: [{_shown(first)}, {_shown(second)}];many-to-many matching not allowed: matching labels must "
            "be unique on one side",
        )
    values = groups.reduce(np.add, np.where(one.present, one.values, 0.0))
    return groups, Frame(groups.keys, values, counts == 1), members


def _result_labels(node: Binary, many: Frame, partners: list[list[Labels]]) -> list[Labels] | None:
    """Return the result's labels, or None where an included label differs between the series of one match group."""
    matching = node.matching
    keeps_name = node.op in _COMPARISON and not node.bool_modifier
    names = frozenset(matching.labels)
    result: list[Labels] = []
    for labels, partner in zip(many.labels, partners, strict=True):
        one = labels if keeps_name else drop_name(labels)
        if matching.many == "none":
            one = keep_only(one, names) if matching.on else tuple(p for p in one if p[0] not in names)
        for name in matching.include:
            values = {label_value(p, name) for p in partner}
            if len(values) > 1:
                return None
            one = with_label(one, name, values.pop())
        result.append(one)
    return result


def _split_by_partner(groups: Groups, partner: IntArray) -> tuple[IntArray, IntArray]:
    """Return (row of the many side, row of the one side) for every pair in a match group whose series took turns."""
    members = list(groups.members())
    counts = [len(members[group]) for group in partner.tolist()]
    theirs = np.concatenate([members[group] for group in partner.tolist()])
    return np.repeat(np.arange(len(partner)), counts), theirs


def _refuse_ambiguity(
    matching: VectorMatching, partner: Sequence[int], labels: Sequence[Labels], present: BoolArray
) -> None:
    """Raise QueryError(execution) where several pairs of a match group meet at a step, even if a filter drops them.

    One to one a group may pair once; otherwise once for each set of labels of the result.
    """
    keys: Sequence[object] = partner if matching.many == "none" else list(zip(partner, labels, strict=True))
    numbers: dict[object, int] = {}
    of_row = [numbers.setdefault(key, len(numbers)) for key in keys]
    if len(numbers) == len(of_row):
        return
    pairs = np.zeros((len(numbers), present.shape[1]), dtype=np.int64)
    np.add.at(pairs, of_row, present)
    if (pairs > 1).any():
        reason = (
            "many-to-one matching must be explicit (group_left/group_right)"
            if matching.many == "none"
            else "grouping labels must ensure unique matches"
        )
        raise QueryError("execution", f"multiple matches for labels: {reason}")


def _shown(labels: Labels) -> str:
    name = label_value(labels, METRIC_NAME)
    return name + "{" + ", ".join(f'{k}="{v}"' for k, v in labels if k != METRIC_NAME) + "}"
