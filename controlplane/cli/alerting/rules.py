"""The verbs `rules …`: they check, test and list rule files without a running control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml.scalarstring import LiteralScalarString

from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import TABLE, columns, emit, plain_yaml, say, say_all


def rules_check(files: list[Path], strict: bool) -> None:
    """Check rule files; by default the built-in packs.

    Raises WrongUsage for faults. Raises VerdictNegative for warnings when `strict` is set.
    """
    from alerts.errors import RuleError
    from controlplane.app.rules import describe_rules
    from controlplane.ruletest.lint import lint

    faults: list[RuleError] = []
    groups = describe_rules(files, faults)
    found = lint(groups, faults)
    say_all(str(finding) for finding in found)
    if faults:
        raise WrongUsage(f"faults found: {len(faults)}")
    if found and strict:
        raise VerdictNegative(f"warnings found: {len(found)}")
    counts = f"{sum(len(g.rules) for g in groups)} rules, {len(groups)} groups"
    say(f"good: {counts}" + (f", {len(found)} warning{'s' * (len(found) != 1)}" if found else ""))


def rules_test(files: list[Path], run: list[str] | None, output: str) -> None:
    """Run promtool's unit tests of rules on the embedded engine.

    Raises WrongUsage for a bad pattern, a file that cannot be run, or a pattern that matches no test. Raises
    VerdictNegative when a case fails.
    """
    from controlplane.ruletest.report import content, file_lines, summary
    from controlplane.ruletest.run import run_file
    from promql.errors import PatternError
    from promql.regex import search

    try:
        for pattern in run or []:
            search(pattern, "")
    except PatternError as error:
        raise WrongUsage(f"--run: {error}") from error
    outcomes = []
    for file in files:
        outcomes.append(run_file(file, lambda name: not run or any(search(pattern, name) for pattern in run)))
        if output == TABLE:
            say_all(file_lines(outcomes[-1]))
    emit(content(outcomes), output, lambda: say(summary(outcomes)))
    unread = sum(bool(outcome.error) for outcome in outcomes)
    if unread:
        raise WrongUsage(f"test files that could not be run: {unread}")
    if run and not any(outcome.tests for outcome in outcomes):
        raise WrongUsage(f"--run: no test of these files has a name that matches {' or '.join(map(repr, run))}")
    failed = sum(outcome.failed for outcome in outcomes)
    if failed:
        raise VerdictNegative(f"cases failed: {failed}")


def rules_list(files: list[Path], prometheus: bool, config: Path | None, output: str) -> None:
    """List the rules of files; by default those of the built-in packs. Raises WrongUsage for files with --config."""
    from alerts.packs import RUNBOOKS
    from alerts.rules import AlertingRule, as_prometheus
    from controlplane.app.rules import describe_rules, fleet_rules
    from controlplane.config.loader import load_fleet

    if config is not None and files:
        raise WrongUsage("give either -c or rule files: the fleet.yaml of -c names its own rule files")
    groups = fleet_rules(load_fleet(config), RUNBOOKS) if config is not None else describe_rules(files)
    if prometheus:
        emit(as_prometheus(groups), output, lambda: _print_rule_file(as_prometheus(groups)))
        return
    found = [
        {
            "group": group.name,
            "rule": rule.name,
            "kind": "alert" if isinstance(rule, AlertingRule) else "record",
            "expression": " ".join(rule.expr.split()),
        }
        for group in groups
        for rule in group.rules
    ]
    rows = [list(rule.values()) for rule in found]
    emit(found, output, lambda: columns(["GROUP", "RULE", "KIND", "EXPRESSION"], rows, "no rules"))


def _print_rule_file(content: dict[str, object]) -> None:
    print(plain_yaml(_blocks(content)), end="")


def _blocks(content: Any) -> Any:
    """Return the content with multi-line texts as YAML block scalars."""
    if isinstance(content, dict):
        return {key: _blocks(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_blocks(value) for value in content]
    return LiteralScalarString(content) if isinstance(content, str) and "\n" in content else content
