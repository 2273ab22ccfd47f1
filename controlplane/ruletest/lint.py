"""The linter of rules. It finds errors, and constructs that will fail or never fire, before the rules are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rapidfuzz import fuzz, process

from alerts.errors import RuleError
from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup, repeats
from collectors.catalogue.model import Catalogue, load_catalogue
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import Node, metric_name, parse
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.ruletest.counters import doubtful_rates, metric_types
from controlplane.ruletest.result_labels import LabelNames, result_labels, selectors

RUNBOOK = "runbook_url"
"""Annotation with the URL of the runbook."""

ALWAYS_KNOWN = ("up", "target_up", "ALERTS", "ALERTS_FOR_STATE")
PREFIXES_KNOWN = ("scrape_", "controlplane_", "log_exporter_")
"""Prefixes of metrics that every scrape adds, and of the control plane's own metrics."""

HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


ALIKE = 60.0
"""Minimum similarity (rapidfuzz ratio, 0 to 100) of a known name that is suggested for an unknown one. Chosen."""


class LintFinding(NamedTuple):
    """One fault of a rule file. Sorts by place."""

    file: str
    line: int
    """0: unknown."""
    level: Literal["error", "warning"]
    sentence: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.level}: {self.sentence}" if place else f"{self.level}: {self.sentence}"


def lint(groups: Sequence[RuleGroup], faults: Iterable[RuleError] = ()) -> list[LintFinding]:
    """Return the findings on rules, in the order of their places. `faults` are the errors of reading the rules."""
    found = [LintFinding(fault.file, fault.line or 0, "error", fault.reason) for fault in faults]
    builtin = [group for name in BUILTIN for group in load_pack(name, options=EXAMPLE)]
    expressions = Expressions()
    catalogue = load_catalogue()
    metrics, types = KnownMetrics(known_metrics(catalogue, [*builtin, *groups])), metric_types(catalogue)
    recorded = _recorded_labels([*builtin, *groups], expressions)
    for group in groups:
        for rule in group.rules:
            node, fault = expressions.tree(rule.expr), expressions.fault(rule.expr)
            sentences = [*_of_metrics(node, metrics), *_of_rates(node, types), *_of_evaluation(fault)]
            if isinstance(rule, AlertingRule):
                sentences += [*_of_alert(rule), *_of_templates(rule, node, recorded)]
            found += [_finding(group, rule, sentence) for sentence in sentences]
    for sentence, rules in repeats(groups):
        (first_group, first), *others = rules
        where = f"the first is at {first_group.file}:{first.line}"
        found += [LintFinding(group.file, rule.line, "warning", f"{sentence}; {where}") for group, rule in others]
    return sorted(found)


class Expressions:
    """Expressions, parsed and evaluated by the embedded engine. Each expression is parsed once and evaluated once."""

    def __init__(self) -> None:
        self._engine = PromqlEngine(SeriesStore())
        self._read: dict[str, Node | QueryError] = {}
        self._faults: dict[str, str] = {}

    def tree(self, expr: str) -> Node | None:
        """Return an expression's syntax tree, or None when it cannot be parsed (see `fault`)."""
        read = self._reading(expr)
        return None if isinstance(read, QueryError) else read

    def fault(self, expr: str) -> str:
        """Return why the engine cannot evaluate an expression with any data, or ""."""
        if expr not in self._faults:
            self._faults[expr] = self._tried(expr)
        return self._faults[expr]

    def _reading(self, expr: str) -> Node | QueryError:
        if expr not in self._read:
            try:
                self._read[expr] = parse(expr)
            except QueryError as error:
                self._read[expr] = error
        return self._read[expr]

    def _tried(self, expr: str) -> str:
        read = self._reading(expr)
        if isinstance(read, QueryError):
            return str(read)
        try:
            self._engine.instant(expr, 0.0, node=read)
        except QueryError as error:
            return str(error)
        return ""


def known_metrics(catalogue: Catalogue, groups: Iterable[RuleGroup]) -> frozenset[str]:
    """Return the names of all known series: canonical ones, the engines' ones in the catalogue, and recorded ones."""
    names = set(ALWAYS_KNOWN)
    for name, metric in catalogue.metrics.items():
        names |= _series_of(name, metric.type)
    for engine in catalogue.engines.values():
        for name, sources in engine.sources.items():
            kind = catalogue.metrics[name].type
            for source in sources:
                raw = (*source.from_, *source.sum)
                names |= {n for base in raw for n in _series_of(base, "plain" if source.part else kind)}
    names |= {rule.record for group in groups for rule in group.rules if isinstance(rule, RecordingRule)}
    return frozenset(names)


def _series_of(name: str, kind: str) -> set[str]:
    return {name + part for part in HISTOGRAM_PARTS} if kind == "histogram" else {name}


def _finding(group: RuleGroup, rule: Rule, sentence: str) -> LintFinding:
    return LintFinding(group.file, rule.line, "warning", f"group {group.name}: {rule.name}: {sentence}")


class KnownMetrics:
    """The names of known series, and the search for the nearest one."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names, self._ordered = names, sorted(names)
        self._nearest: dict[str, str] = {}

    def unknown(self, node: Node | None) -> list[tuple[str, str]]:
        """Return each unknown metric of an expression with the nearest known name, or "" when none is near."""
        used = dict.fromkeys(metric_name(selector) for selector in (selectors(node) if node is not None else ()))
        unknown = [n for n in used if n is not None and n not in self._names and not n.startswith(PREFIXES_KNOWN)]
        return [(name, self._near(name)) for name in unknown]

    def _near(self, name: str) -> str:
        if name not in self._nearest:
            found = process.extractOne(name, self._ordered, scorer=fuzz.ratio, score_cutoff=ALIKE)
            self._nearest[name] = found[0] if found else ""
        return self._nearest[name]


def _of_metrics(node: Node | None, metrics: KnownMetrics) -> list[str]:
    return [
        f"metric {name} is not known; "
        + (f"the nearest known name is {near}" if near else "no engine, rule or catalogue entry has it")
        for name, near in metrics.unknown(node)
    ]


def _of_rates(node: Node | None, types: dict[str, str]) -> list[str]:
    return [] if node is None else list(doubtful_rates(node, types))


def _of_evaluation(fault: str) -> list[str]:
    return [f"the embedded engine cannot evaluate it: {fault}"] if fault else []


def _of_alert(rule: AlertingRule) -> list[str]:
    sentences = []
    if not rule.says_for:
        sentences.append("it has no for: and fires on a single evaluation; if that is meant, write for: 0s")
    if RUNBOOK not in dict(rule.annotations):
        sentences.append(f"it has no annotation {RUNBOOK}: the person on call gets no instructions")
    return sentences


def _of_templates(rule: AlertingRule, node: Node | None, recorded: dict[str, LabelNames]) -> list[str]:
    templates = (*rule.labels, *rule.annotations)
    sentences = [f"{name}: {doubt}" for name, template in templates for doubt in template.doubts()]
    possible = None if node is None else result_labels(node, recorded)
    if possible is None:
        return sentences
    for name, template in templates:
        for label in sorted(template.label_names() - possible):
            there = f"it can have {', '.join(sorted(possible))}" if possible else "it has no labels"
            sentences.append(f"{name} uses $labels.{label}, which the result of its query never has; {there}")
    return sentences


def _recorded_labels(groups: Iterable[RuleGroup], expressions: Expressions) -> dict[str, LabelNames]:
    """Return the labels that recorded series can have, by name. They are unknown for a name recorded from itself."""
    rules: dict[str, list[RecordingRule]] = {}
    for group in groups:
        for rule in group.rules:
            if isinstance(rule, RecordingRule):
                rules.setdefault(rule.record, []).append(rule)
    found: dict[str, LabelNames] = {}
    # Each round resolves one more link of a chain of recorded series. Chosen: longer chains are rare.
    for _ in range(4):
        found = {
            name: _union([_labels_recorded(rule, expressions.tree(rule.expr), found) for rule in same])
            for name, same in rules.items()
        }
    return found


def _labels_recorded(rule: RecordingRule, node: Node | None, recorded: dict[str, LabelNames]) -> LabelNames:
    labels = None if node is None else result_labels(node, recorded)
    return None if labels is None else (labels - set(rule.removed)) | {name for name, _ in rule.labels}


def _union(sets: Iterable[LabelNames]) -> LabelNames:
    union: frozenset[str] = frozenset()
    for labels in sets:
        if labels is None:
            return None
        union |= labels
    return union
