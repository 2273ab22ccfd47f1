"""Check the options of rollouts: their PromQL, golden files, alerts that roll back, and secrets of judges."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import re2
from rapidfuzz import fuzz

from alerts.rules import AlertingRule, RuleGroup
from collectors.catalogue.model import load_catalogue
from collectors.regular_file import read_regular
from controlplane.app.checks.findings import Findings
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.config.rollout.golden import GoldenPromptSection, GoldenSection, JudgeSection, read_golden
from controlplane.config.rollout.section import Gates, RolloutSection
from controlplane.config.vocabulary import whole
from controlplane.config.wording import nearest
from controlplane.errors import ConfigErrors
from controlplane.metrics.promql.syntax.tree import Node, parse
from controlplane.rollout.planning.templates import SAMPLE, fault_of, filled
from controlplane.ruletest.lint import KnownMetrics, known_metrics
from controlplane.ruletest.result_labels import selectors

MISSPELT = 85.0
"""Similarity (rapidfuzz ratio, 0 to 100) from which a name is taken for a misspelt one. Chosen: one letter in seven."""


def check_rollouts(loaded: LoadedFleet, groups: Sequence[RuleGroup], findings: Findings) -> None:
    """Add findings on the options of all models' rollouts. `groups` are the rules of the file. Blocking."""
    fleet = loaded.fleet
    found: list[tuple[Loc, Gates]] = []
    if fleet.reads("models"):
        for number, model in enumerate(fleet.models):
            if model.reads("rollout") and model.rollout is not None and whole(model.rollout):
                found.append((("models", number, "rollout"), model.rollout))
    if fleet.reads("rollouts") and whole(fleet.rollouts):
        found.append((("rollouts",), fleet.rollouts))
    metrics: KnownMetrics | None = None
    for loc, gates in found:
        for place, expr, windowed in _expressions(gates):
            if fault := fault_of(expr, windowed=windowed):
                findings.error((*loc, *place), f"cannot be evaluated: {fault}")
                continue
            tree = parse(filled(expr, *SAMPLE))
            if selectors(tree):
                metrics = metrics or KnownMetrics(known_metrics(load_catalogue(), groups))
                _check_metrics(tree, (*loc, *place), metrics, findings)
        if isinstance(gates, RolloutSection):
            _check_alerts(gates, loc, groups, findings)
            if gates.golden is not None:
                _check_golden(gates.golden, (*loc, "golden"), findings)


def _expressions(gates: Gates) -> Iterator[tuple[Loc, str, bool]]:
    """Yield (place, expression, whether it has a window)."""
    if isinstance(gates, RolloutSection) and gates.analysis is not None:
        for number, limit in enumerate(gates.analysis.thresholds):
            yield ("analysis", "thresholds", number, "expr"), limit.expr, True
    for number, item in enumerate(gates.checklist):
        if item.expr is not None:
            yield ("checklist", number, "expr"), item.expr, False


def _check_metrics(tree: Node, loc: Loc, metrics: KnownMetrics, findings: Findings) -> None:
    """Add a warning for a metric that looks like a misspelt one. Another name may come from any exporter."""
    for name, near in metrics.unknown(tree):
        if near and fuzz.ratio(name, near) >= MISSPELT:
            findings.warn(loc, f"metric {name} is not known; the nearest known name is {near}")


def _check_alerts(rollout: RolloutSection, loc: Loc, groups: Iterable[RuleGroup], findings: Findings) -> None:
    known = [rule.name for group in groups for rule in group.rules if isinstance(rule, AlertingRule)]
    for number, name in enumerate(rollout.rollback_on):
        if name not in known:
            hint = nearest(name, known) or "; no rule of rules: has this name"
            findings.warn((*loc, "rollback_on", number), f"no alert is called {name}, so it rolls nothing back{hint}")


def _check_golden(golden: GoldenSection, loc: Loc, findings: Findings) -> None:
    prompts: tuple[GoldenPromptSection, ...] = ()
    try:
        prompts = read_golden(golden)
    except ConfigErrors as error:
        # The file may be mended without an edit of fleet.yaml. Until then a promotion is refused.
        for fault in error.errors:
            words = f"{fault.field}: {fault.reason}" if fault.field else fault.reason
            findings.elsewhere("warning", fault.file, fault.line, words)
    for number, one in enumerate(prompts):
        if one.expect.regex is not None and (why := _regex_fault(one.expect.regex)):
            sentence = f"is no RE2 expression: {why}"
            if golden.file is not None:
                findings.elsewhere("warning", str(golden.file), None, f"prompts[{number}].expect.regex: {sentence}")
            else:
                findings.error((*loc, "prompts", number, "expect", "regex"), sentence)
    if golden.judge is not None:
        _check_judge(golden.judge, (*loc, "judge"), findings)


def _regex_fault(regex: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error as error:
        return str(error.args[0].decode() if isinstance(error.args[0], bytes) else error)
    return ""


def _check_judge(judge: JudgeSection, loc: Loc, findings: Findings) -> None:
    if judge.key_env and not os.environ.get(judge.key_env, "").strip():
        findings.warn((*loc, "key_env"), f"environment variable {judge.key_env} is not set or empty; put the key there")
    if judge.key_file is not None:
        try:
            empty = not read_regular(judge.key_file, 1)
        except OSError as error:
            findings.warn((*loc, "key_file"), f"{judge.key_file}: {error.strerror}")
        else:
            if empty:
                findings.warn((*loc, "key_file"), f"{judge.key_file} is empty; put the key there")
