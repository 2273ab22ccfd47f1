"""Queries made up from a grammar of PromQL over the fleet of `promql_reference`, the same ones for the same seed.

What Prometheus 2.42 does differently by design stays out, unless the reference is newer. What a
rounding error in the last place could turn over (comparing, rounding, counting equal values) is applied to samples as
they were stored only, and only differing values are ranked.
"""

from __future__ import annotations

import random
from collections.abc import Callable

LABELS = ("job", "instance", "status", "node", "kind", "le", "version", "nope")

EXACT = (
    "requests_total",
    'requests_total{status="200"}',
    'requests_total{status=~"4..|5..", job!="web"}',
    "temperature",
    'temperature{instance!~"a.*"}',
    '{__name__="temperature", job="api"}',
    "special",
    'special{kind=~"inf|negative"}',
    "late",
    'late{kind="starts"}',
    "info",
    "latency_seconds_count",
    "absent_metric",
)
"""Selectors whose samples are compared as they are."""

COUNTERS = ("requests_total", 'requests_total{job="api"}', "latency_seconds_bucket", "latency_seconds_count")
GAUGES = ("temperature", 'temperature{job="web"}', 'special{kind!="inf"}', "late", "info")
DISTINCT = ("requests_total", 'requests_total{job="web"}', 'requests_total{status="404"}')
"""Selectors without two equal values at a time."""

CONTINUOUS = ("abs", "sqrt", "ln", "log2", "log10", "deg", "rad", "atan", "tanh", "asinh")
TRIGONOMETRIC = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")
STEPPED = ("ceil", "floor", "round", "sgn", "exp")
CALENDAR = ("minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year")
OF_COUNTERS = ("rate", "increase", "irate", "resets")
OF_GAUGES = ("delta", "idelta", "deriv", "changes", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time")
OF_ANY = ("count_over_time", "last_over_time", "present_over_time", "stddev_over_time", "stdvar_over_time")
REDUCING = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARING = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")


class Grammar:
    """Makes queries. `deep` is how far they may nest; `inner` whether a query is evaluated at a subquery's steps."""

    def __init__(self, seed: int, newer: bool = False) -> None:
        self._random = random.Random(seed)
        self._newer = newer

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def any(self, deep: int = 3, *, inner: bool = False) -> str:
        """Return an instant vector."""
        makers: list[Callable[[int, bool], str]] = [
            self.exact,
            self.rate,
            self.over_time,
            self.mapped,
            self.clamped,
            self.aggregated,
            self.arithmetic,
            self.compared,
            self.joined,
            self.set_operation,
            self.relabelled,
            self.ranked,
            self.quantile,
            self.histogram,
            self.over_subquery,
        ]
        return self._random.choice(makers[:2] if deep <= 0 else makers)(deep - 1, inner)

    def modifier(self) -> str:
        """Return how a selector moves in time, most often not at all."""
        moved = self._random.random()
        if moved < 0.75:
            return ""
        if moved < 0.9:
            return " offset " + self._one("5m", "-3m", "1h", "2m")
        return " @ " + self._one("1700001030", "start()", "end()", "1700001090 offset 1m")

    def range(self) -> str:
        """Return a range; no sample of the fleet is ever on its edge."""
        plain = ("1m", "2m", "5m", "10m", "15m", "30m", "20s", "1h")
        return self._one(*plain, *(("300", "5m * 2", "(1h - 30m) / 2", "1m + 15s", "2 ^ 6") if self._newer else ()))

    def scalar(self, deep: int = 1) -> str:
        """Return a scalar."""
        plain = self._one("0", "1", "2.5", "-3", "1e3", "0x1f", "Inf", "NaN", ".5", "time()", "pi()")
        if deep <= 0 or self._random.random() < 0.7:
            return plain
        return self._one(
            f"scalar({self.exact(0, False)})",
            f"({self.scalar(0)} {self._one(*ARITHMETIC)} {self.scalar(0)})",
            f"({self.scalar(0)} {self._one(*COMPARING)} bool {self.scalar(0)})",
            'scalar(info{instance="a:1"})',
        )

    def exact(self, deep: int, inner: bool) -> str:
        """Return samples as they were stored."""
        return self._one(*EXACT) + self.modifier()

    def rate(self, deep: int, inner: bool) -> str:
        """Return how counters change."""
        return f"{self._one(*OF_COUNTERS)}({self._one(*COUNTERS)}[{self.range()}]{self.modifier()})"

    def over_time(self, deep: int, inner: bool) -> str:
        """Return a function of a range of gauges."""
        window = f"{self._one(*GAUGES)}[{self.range()}]{self.modifier()}"
        return self._one(
            f"{self._one(*OF_GAUGES)}({window})",
            f"{self._one(*OF_ANY)}({window})",
            f"quantile_over_time({self._one('0.3', '0', '1', '-1', '2', 'NaN', '0.75')}, {window})",
            # Under @, 2.42 loses samples of predict_linear's window step by step (prometheus#11708).
            f"predict_linear({self._one(*GAUGES)}[{self.range()}]{self.modifier() if self._newer else ''}, "
            f"{self._one('0', '600', '-60')})",
            f"absent_over_time({self._one(*EXACT)}[{self.range()}])",
        )

    def mapped(self, deep: int, inner: bool) -> str:
        """Return a function of one instant."""
        return self._one(
            f"{self._one(*CONTINUOUS)}({self.any(deep, inner=inner)})",
            f"{self._one(*STEPPED)}({self.exact(deep, inner)})",
            f"{self._one(*TRIGONOMETRIC)}({self.exact(deep, inner)} / 100)",
            # What date infinity is differs by processor in Go.
            f"{self._one(*CALENDAR)}({self._one(*DISTINCT, 'late', 'info')} * 1e5)",
            f"round({self.exact(deep, inner)}, {self._one('0.1', '5', '0.25', '100')})",
            f"timestamp({self.exact(deep, inner)})",
            f"absent({self.any(deep, inner=inner)})",
            f"sort({self.any(deep, inner=inner)})",
            f"sort_desc({self.any(deep, inner=inner)})",
            f"vector({self.scalar()})",
            f"{self._one('-', '+', '')}({self._one(*EXACT[:5])})",
        )

    def clamped(self, deep: int, inner: bool) -> str:
        """Return values within bounds."""
        value = self.any(deep, inner=inner)
        return self._one(
            f"clamp({value}, {self.scalar(0)}, {self.scalar(0)})",
            f"clamp_min({value}, {self.scalar()})",
            f"clamp_max({value}, {self.scalar()})",
        )

    def grouping(self, most: int = 3) -> str:
        """Return a `by` or `without` clause of up to so many labels, or none."""
        names = ", ".join(self._random.sample(LABELS, self._random.randint(0, most)))
        return self._one("", f" by ({names})", f" without ({names})", f" by ({names})")

    def aggregated(self, deep: int, inner: bool) -> str:
        """Return an aggregation, the clause before or behind."""
        op, clause = self._one(*REDUCING), self.grouping()
        # A lone infinity has no deviation in Prometheus 3, and one of 0 in 2.42.
        lone = op.startswith("std") and not self._newer
        value = self._one(*COUNTERS, *GAUGES[:2]) if lone else self.any(deep, inner=inner)
        return self._one(f"{op}{clause} ({value})", f"{op}({value}){clause}")

    def ranked(self, deep: int, inner: bool) -> str:
        """Return the first or last values of each group."""
        k = self._one("0", "1", "2", "3", "100", "-1")
        return f"{self._one('topk', 'bottomk')}{self.grouping()} ({k}, {self._one(*DISTINCT)})"

    def quantile(self, deep: int, inner: bool) -> str:
        """Return quantiles or counts of a group's values."""
        value = f"{self._one(*EXACT)}{self._one('', ' > 20')}"
        rank = self._one("0.5", "0.1", "1", "-1", "7", "NaN")
        # From three labels on, 2.42 mixes up those of count_values from step to step (a slice shared with itself).
        return self._one(
            f"quantile{self.grouping()} ({rank}, {self.any(deep, inner=inner)})",
            f'count_values{self.grouping(3 if self._newer else 2)} ("{self._one("value", "job", "le")}", {value})',
        )

    def histogram(self, deep: int, inner: bool) -> str:
        """Return quantiles of classic histograms."""
        buckets = f"rate(latency_seconds_bucket[{self.range()}])"
        of = self._one(buckets, f"sum by (le) ({buckets})", "latency_seconds_bucket", self.any(deep, inner=inner))
        return f"histogram_quantile({self._one('0.5', '0.9', '0', '1', '-1', '1.5', 'NaN')}, {of})"

    def arithmetic(self, deep: int, inner: bool) -> str:
        """Return arithmetic between a vector and a scalar; differences of stored samples only, lest they cancel out."""
        op = self._one(*ARITHMETIC)
        value = self.any(deep, inner=inner) if op in ("*", "/") else self.exact(deep, inner)
        # 2.42 keeps the metric name in the result of atan2, so there is none to keep.
        pair = [f"abs({value})" if op == "atan2" and not self._newer else value, self.scalar()]
        self._random.shuffle(pair)
        return f"({pair[0]} {op} {pair[1]})"

    def compared(self, deep: int, inner: bool) -> str:
        """Return a filter, or its verdict, over stored samples."""
        pair = [self.exact(deep, inner), self._one("50", "3.25", "1200", "NaN", "Inf", "time()")]
        self._random.shuffle(pair)
        return f"({pair[0]} {self._one(*COMPARING)}{self._one('', ' bool')} {pair[1]})"

    def joined(self, deep: int, inner: bool) -> str:
        """Return an operation between vectors, matched by labels in every way; some of it ambiguous."""
        op = self._one("*", "/", "^", *(f"{c} bool" for c in COMPARING))
        sums = f"max by (job, instance) ({self._one('requests_total', 'temperature')})"
        clean = self._one("on (job, instance)", "ignoring (status, node)")
        return self._one(
            f"(requests_total {op} {clean} group_left {sums})",
            f"(temperature {op} {clean} group_left {sums})",
            f"({sums} {op} {clean} group_right {self._one('requests_total', 'temperature')})",
            f"(temperature {op} on (instance) group_left (version) info)",
            f"(info {op} on (instance) group_right (version, nope) temperature)",
            f"({sums} {op} {self._one('', 'on (job, instance)', 'ignoring (nope)')} {sums})",
            f"(temperature {self._one(*COMPARING)} on (job, instance) {sums})",
            f"({self._one(*EXACT)} {op} {self._one('', 'on (job)', 'ignoring (instance)')} {self._one(*EXACT)})",
        )

    def set_operation(self, deep: int, inner: bool) -> str:
        """Return a set operation."""
        clause = self._one("", "on (job)", "on (instance)", "on ()", "ignoring (status, node, kind)")
        left, right = self.any(deep, inner=inner), self.any(deep, inner=inner)
        return f"({left} {self._one(*SETS)} {clause} {right})"

    def relabelled(self, deep: int, inner: bool) -> str:
        """Return series under further labels."""
        value = self.any(deep, inner=inner)
        patterns = (".*", "(.*):(.*)", "(?P<first>.).*", "a.*", "")
        pattern = self._one(*patterns, *(("(?i)(A)?.*", "(?:.|..)+", "(?U)(.+)(.*)") if self._newer else ()))
        template = self._one("$1", "$2-$1", "${first}", "x", "", "$$", "${1}y$1y")
        return self._one(
            f'label_replace({value}, "added", "{template}", "instance", "{pattern}")',
            f'label_join({value}, "added", "{self._one("-", "", ",")}", "job", "instance", "nope")',
        )

    def over_subquery(self, deep: int, inner: bool) -> str:
        """Return a function of a subquery, whose steps are never on the edge of its range."""
        seconds = self._one("", "10s") if not inner else "10s"
        window = self._one("5m", "10m", "20m") + (seconds if inner else "")
        inside = self.any(min(deep, 1), inner=True) if not inner else self._one(*GAUGES)
        steps = self._one("1m", "40s", "2m", "")
        function = self._one("max_over_time", "min_over_time", "count_over_time", "last_over_time", "present_over_time")
        return f"{function}(({inside})[{window}:{steps}]{self._one('', '', ' offset 2m', ' @ 1700001030')})"


def systematic(seed: int, *, newer: bool = False) -> list[str]:
    """Return queries in which every function and operator occurs, several times over.

    `newer` ones have forms and cases of which only Prometheus 3 is a judge.
    """
    grammar = Grammar(seed, newer)
    makers = (
        *(grammar.rate, grammar.over_time, grammar.mapped, grammar.clamped, grammar.aggregated, grammar.ranked),
        *(grammar.quantile, grammar.histogram, grammar.arithmetic, grammar.compared, grammar.joined),
        *(grammar.set_operation, grammar.relabelled, grammar.over_subquery),
    )
    vectors = [f"{function}({grammar.exact(0, False)} / 100)" for function in (*CONTINUOUS, *TRIGONOMETRIC)]
    return [*vectors, *(make(1, False) for make in makers for _ in range(12))]


def nested(seed: int, count: int, *, newer: bool = False) -> list[str]:
    """Return queries that nest four levels deep."""
    grammar = Grammar(seed, newer)
    return [grammar.any(4) for _ in range(count)]
