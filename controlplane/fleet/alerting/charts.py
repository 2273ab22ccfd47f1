"""Charts of alerts: the last hour of what their rule compares, and the number that it is compared to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from alerts.charts import Chart, ChartLine
from alerts.errors import QueryFailed
from alerts.interfaces import AlertInstance, Clock, Message
from alerts.rules import AlertingRule, RuleGroup
from controlplane.errors import QueryError
from controlplane.metrics.query.queries import Queries
from promql.nodes import BinaryExpr, Node, NumberLiteral, ParenExpr
from promql.parser import parse_tree
from promql.strings import quote

SPAN_S, STEP_S = 3600.0, 60.0
LINES = 8
"""Series of a chart. Chosen: more cannot be told apart at its size."""
READ_SERIES = 2000
"""Series of an answer that are searched for those of the alerts. Chosen: about a megabyte of JSON."""
SHAPES = 16
"""Sets of label names that the searched series may have; those with a further set are left out. Chosen: series of one
metric have one or two, and each set costs a look at every alert."""
TIMEOUT_S = 1.5
"""Seconds for the query. Chosen: less than the notifier's patience, so that its words name the query."""
ASKER = "charts of alerts"
_COMPARISONS = frozenset({">", ">=", "<", "<=", "==", "!="})


class Compared(NamedTuple):
    """The part of an expression that is compared, and the number that it is compared to."""

    expr: str
    threshold: float | None


class RuleCharts:
    """Implements alerts.charts.ChartSource on the metrics of the fleet."""

    def __init__(self, queries: Queries, groups: Callable[[], Iterable[RuleGroup]], clock: Clock) -> None:
        """`groups` returns the rule groups in force."""
        self._queries, self._groups, self._clock = queries, groups, clock

    async def chart(self, message: Message) -> Chart | None:
        """Return the chart of a message's alerts: the firing ones, or the resolved ones when none fires.

        None: the alerts are of several rules or of another sender, the rule compares nothing, or there are no series.
        Raises QueryFailed.
        """
        alerts = message.firing or message.resolved
        rule = self._rule(alerts)
        compared = compared_of(rule.expr) if rule else None
        if rule is None or compared is None:
            return None
        end = self._clock.now() // STEP_S * STEP_S
        start = end - SPAN_S
        try:
            answer = await self._queries.range_json(
                compared.expr, start, end, STEP_S, limit=READ_SERIES, timeout_s=TIMEOUT_S, asker=ASKER
            )
        except QueryError as error:
            raise QueryFailed(f"the query of the chart failed: {error}") from error
        lines = _lines(orjson.loads(answer.data), alerts, {name for name, _ in rule.labels})
        title = f"{rule.alert}: {compared.expr}"
        return Chart(title, start, end, lines, compared.threshold) if lines else None

    def _rule(self, alerts: Sequence[AlertInstance]) -> AlertingRule | None:
        ids = {alert.rule for alert in alerts}
        rules = (rule for group in self._groups() for rule in group.rules if rule.id in ids)
        return next((rule for rule in rules if len(ids) == 1 and isinstance(rule, AlertingRule)), None)


def compared_of(expr: str) -> Compared | None:
    """Return what an expression compares; None when it compares nothing. Of `a and b` it is what `a` compares."""
    return _compared(expr, parse_tree(expr))


def about(expr: str, labels: Mapping[str, str]) -> str:
    """Return an expression for the series with these labels alone, whatever the expression is."""
    if not labels:
        return expr
    series = "vector(1)"
    for name, value in labels.items():
        series = f'label_replace({series}, "{name}", {quote(value.replace("$", "$$"))}, "", "")'
    end = "\n" if "#" in expr else ""  # a comment on the last line must not hide what follows
    return f"({expr}{end}) and on ({', '.join(labels)}) {series}"


def _compared(expr: str, node: Node) -> Compared | None:
    if isinstance(node, ParenExpr):
        return _compared(expr, node.expr)
    if not isinstance(node, BinaryExpr):
        return None
    if node.op not in _COMPARISONS:
        return _compared(expr, node.lhs) if node.op in ("and", "or", "unless") else None
    left, right = node.lhs, node.rhs
    if isinstance(left, NumberLiteral):
        left, right = right, left
    if isinstance(left, NumberLiteral):
        return None
    return Compared(expr[left.start : left.end], right.val if isinstance(right, NumberLiteral) else None)


def _lines(data: Mapping[str, object], alerts: Sequence[AlertInstance], overridden: set[str]) -> tuple[ChartLine, ...]:
    """Return the series of alerts. Labels that the rule sets do not tell a series from another one."""
    wanted = [dict(alert.labels) for alert in alerts]
    known: dict[tuple[str, ...], set[tuple[str | None, ...]]] = {}
    found: list[ChartLine] = []
    result = data.get("result")
    for series in result if isinstance(result, list) and data.get("resultType") == "matrix" else ():
        labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
        told = [(name, value) for name, value in labels.items() if name not in overridden]
        names = tuple(name for name, _ in told)
        if names not in known and len(known) < SHAPES:
            known[names] = {tuple(map(alert.get, names)) for alert in wanted}
        if tuple(value for _, value in told) in known.get(names, ()):
            points = tuple((float(at), _number(value)) for at, value in series["values"])
            found.append(ChartLine(", ".join(f"{name}={value}" for name, value in told), _with_gaps(points)))
        if len(found) == LINES:
            break
    return tuple(found)


def _with_gaps(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Return points with a NaN where a step has none."""
    full: list[tuple[float, float]] = []
    for at, value in points:
        if full and at - full[-1][0] > 1.5 * STEP_S:
            full.append((full[-1][0] + STEP_S, math.nan))
        full.append((at, value))
    return tuple(full)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan
