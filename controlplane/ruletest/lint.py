"""Finds what is wrong, or will be, with rules: before they are loaded, and before a night without the alert."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from alerts.errors import RuleError
from alerts.packs import BUILTIN, load_pack
from alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup, repeats
from collectors.catalogue import Catalogue, load_catalogue
from controlplane.errors import QueryError
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.series_store import SeriesStore
from controlplane.metrics.syntax import Node, parse
from controlplane.ruletest.result_labels import LabelNames, metric_name, result_labels, selectors

RUNBOOK = "runbook_url"
"""The annotation that leads whoever is woken to what to do."""

ALWAYS_KNOWN = ("up", "ALERTS", "ALERTS_FOR_STATE")
PREFIXES_KNOWN = ("scrape_", "controlplane_")
"""What every scrape reports, and the control plane's own metrics."""

HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


class Finding(NamedTuple):
    """One fault of a rule file. Sorts by place."""

    file: str
    line: int
    """0: unknown."""
    level: Literal["error", "warning"]
    sentence: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.level}: {self.sentence}" if place else f"{self.level}: {self.sentence}"


def lint(groups: Sequence[RuleGroup], faults: Iterable[RuleError] = ()) -> list[Finding]:
    """Return what is wrong with rules, in the order of their places; `faults` are what reading them came upon."""
    found = [Finding(fault.file, fault.line or 0, "error", fault.reason) for fault in faults]
    builtin = [group for name in BUILTIN for group in load_pack(name)]
    names = known_metrics(load_catalogue(), [*builtin, *groups])
    recorded = _recorded_labels([*builtin, *groups])
    engine = PromqlEngine(SeriesStore())
    for group in groups:
        for rule in group.rules:
            sentences = [*_of_metrics(rule, names), *_of_evaluation(rule, engine)]
            if isinstance(rule, AlertingRule):
                sentences += [*_of_alert(rule), *_of_templates(rule, recorded)]
            found += [_finding(group, rule, sentence) for sentence in sentences]
    for sentence, rules in repeats(groups):
        (first_group, first), *others = rules
        where = f"the first is at {first_group.file}:{first.line}"
        found += [Finding(group.file, rule.line, "warning", f"{sentence}; {where}") for group, rule in others]
    return sorted(found)


def unevaluable(rule: Rule, engine: PromqlEngine) -> str:
    """Return why the embedded engine cannot evaluate a rule whatever the data, or an empty text."""
    try:
        engine.instant(rule.expr, 0.0)
    except QueryError as error:
        return str(error)
    return ""


def known_metrics(catalogue: Catalogue, groups: Iterable[RuleGroup]) -> frozenset[str]:
    """Return the names of every series that is known to exist: canonical, raw by the catalogue, and recorded."""
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


def _finding(group: RuleGroup, rule: Rule, sentence: str) -> Finding:
    return Finding(group.file, rule.line, "warning", f"group {group.name}: {rule.name}: {sentence}")


def unknown_metrics(rule: Rule, names: frozenset[str]) -> list[tuple[str, str]]:
    """Return each metric that a rule reads and `names` lacks, and the nearest name that is known, or an empty text."""
    node = _parsed(rule)
    used = dict.fromkeys(metric_name(selector) for selector in (selectors(node) if node is not None else ()))
    unknown = [n for n in used if n is not None and n not in names and not n.startswith(PREFIXES_KNOWN)]
    return [(name, next(iter(difflib.get_close_matches(name, names, 1, 0.6)), "")) for name in unknown]


def _of_metrics(rule: Rule, names: frozenset[str]) -> list[str]:
    return [
        f"metric {name} is not known; "
        + (f"the nearest known name is {near}" if near else "no engine, rule or catalogue entry has it")
        for name, near in unknown_metrics(rule, names)
    ]


def _of_evaluation(rule: Rule, engine: PromqlEngine) -> list[str]:
    why = unevaluable(rule, engine)
    return [f"the embedded engine cannot evaluate it: {why}"] if why else []


def _of_alert(rule: AlertingRule) -> list[str]:
    sentences = []
    if not rule.says_for:
        sentences.append("it has no for: and fires on a single evaluation; if that is meant, write for: 0s")
    if RUNBOOK not in dict(rule.annotations):
        sentences.append(f"it has no annotation {RUNBOOK}: whoever is woken is not told what to do")
    return sentences


def _of_templates(rule: AlertingRule, recorded: dict[str, LabelNames]) -> list[str]:
    node = _parsed(rule)
    possible = None if node is None else result_labels(node, recorded)
    if possible is None:
        return []
    sentences = []
    for name, template in (*rule.labels, *rule.annotations):
        for label in sorted(template.label_names() - possible):
            there = f"it can have {', '.join(sorted(possible))}" if possible else "it has no labels"
            sentences.append(f"{name} uses $labels.{label}, which the result of its query never has; {there}")
    return sentences


def _recorded_labels(groups: Iterable[RuleGroup]) -> dict[str, LabelNames]:
    """Return the labels that recorded series can have. What a name that is recorded from itself has is not known."""
    rules: dict[str, list[RecordingRule]] = {}
    for group in groups:
        for rule in group.rules:
            if isinstance(rule, RecordingRule):
                rules.setdefault(rule.record, []).append(rule)
    found: dict[str, LabelNames] = {}
    # Each round knows one more link of a chain of recorded series; a few are all that anybody writes.
    for _ in range(4):
        found = {name: _union([_labels_recorded(rule, found) for rule in same]) for name, same in rules.items()}
    return found


def _labels_recorded(rule: RecordingRule, recorded: dict[str, LabelNames]) -> LabelNames:
    node = _parsed(rule)
    labels = None if node is None else result_labels(node, recorded)
    return None if labels is None else (labels - set(rule.removed)) | {name for name, _ in rule.labels}


def _union(sets: Iterable[LabelNames]) -> LabelNames:
    union: frozenset[str] = frozenset()
    for labels in sets:
        if labels is None:
            return None
        union |= labels
    return union


def _parsed(rule: Rule) -> Node | None:
    try:
        return parse(rule.expr)
    except QueryError:
        # Said by _of_evaluation.
        return None
