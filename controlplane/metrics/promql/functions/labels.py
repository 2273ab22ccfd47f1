"""Functions of labels, and of absence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collectors.samples import Labels, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.context import Evaluation, Function
from controlplane.metrics.promql.frame import Frame, single
from controlplane.metrics.promql.syntax.tree import Node, Range, Selector
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.label_sets import label_value, with_label
from controlplane.metrics.series.matchers import Matcher, MatchOp, compile_regex
from promql.regex import expand, groups_of
from promql.strings import readable


def _label_name(name: str, function: str, role: str = "destination") -> str:
    # Any text except "" is a label name, as in Prometheus 3 (UTF-8 names).
    if not name or readable(name) != name:
        raise QueryError("execution", f"invalid {role} label name in {function}(): {readable(name)!r}")
    return name


def label_replace(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Set a label from the groups of a regex that matched another label.

    Raises QueryError when the regex or the label's name is not valid, or when two series become one.
    """
    target, template, source, pattern = (evaluation.text(a) for a in args[1:5])
    template = readable(template)
    try:
        regex = compile_regex(pattern)
    except QueryError as error:
        raise QueryError("execution", f"invalid regular expression in label_replace(): {error}") from error
    target = _label_name(target, "label_replace")
    frame = evaluation.frame(args[0])
    replacements: dict[str, str | None] = {}
    labels: list[Labels] = []
    for one in frame.labels:
        value = label_value(one, source)
        if value not in replacements:
            groups = groups_of(pattern, value)
            replacements[value] = None if groups is None else expand(template, groups, regex.group_numbers)
        replacement = replacements[value]
        labels.append(one if replacement is None else with_label(one, target, replacement))
    return frame.relabelled(labels)


def label_join(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Set a label to the joined values of other labels.

    Raises QueryError when a label's name is not valid, or when two series become one.
    """
    target, separator = evaluation.text(args[1]), readable(evaluation.text(args[2]))
    sources = [_label_name(evaluation.text(a), "label_join", "source") for a in args[3:]]
    target = _label_name(target, "label_join")
    frame = evaluation.frame(args[0])
    return frame.relabelled(
        [with_label(one, target, separator.join(label_value(one, s) for s in sources)) for one in frame.labels]
    )


def _known_labels(matchers: Sequence[Matcher]) -> Labels:
    """Return the labels that a selector fixes: those whose only matcher is an equality. This is Prometheus's rule."""
    found: dict[str, str] = {}
    equal: set[str] = set()
    for matcher in matchers:
        if matcher.op is MatchOp.EQUAL and matcher.name not in equal:
            equal.add(matcher.name)
            found[matcher.name] = matcher.value
        else:
            found.pop(matcher.name, None)
    return labels_of({name: value for name, value in found.items() if value and name != METRIC_NAME})


def absent(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return 1 at steps where a vector has no element, with the labels that its selector fixes."""
    frame = evaluation.frame(args[0])
    labels = _known_labels(args[0].matchers) if isinstance(args[0], Selector) else ()
    return single(np.ones(len(evaluation.steps)), ~frame.present.any(axis=0), labels).occupied()


def absent_over_time(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return 1 at steps where no series has a sample in the window, with the labels that its selector fixes."""
    windows = evaluation.ranges(args[0]).windows
    labels = _known_labels(args[0].selector.matchers) if isinstance(args[0], Range) else ()
    seen = (windows.counts > 0).any(axis=0)
    return single(np.ones(len(evaluation.steps)), ~seen, labels).occupied()


LABEL_FUNCTIONS: dict[str, Function] = {
    "label_replace": label_replace,
    "label_join": label_join,
    "absent": absent,
    "absent_over_time": absent_over_time,
}
