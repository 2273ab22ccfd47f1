"""Check rules, thresholds, policies for missing data, and the metrics that rules read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alerts.errors import RuleError
from alerts.packs import (
    BUILTIN,
    PREFIX,
    PackOptions,
    expanded,
    load_pack,
    matching_files,
    no_data_faults,
    threshold_faults,
)
from alerts.rules import RuleGroup, repeats
from collectors.catalogue.model import load_catalogue
from collectors.durations import format_duration
from collectors.engines.kinds import AUTO, CUSTOM
from controlplane.app.checks.findings import Findings
from controlplane.app.rules import describe_rules, pack_options
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet, Metrics
from controlplane.config.vocabulary import whole
from controlplane.config.wording import nearest, not_one_of
from controlplane.ruletest.lint import Expressions, KnownMetrics, known_metrics


def check_rules(loaded: LoadedFleet, findings: Findings) -> tuple[RuleGroup, ...]:
    """Add the faults of rules and of what tunes the packs. Return the groups that could be read. Blocking."""
    fleet = loaded.fleet
    if not fleet.reads("rules"):
        return ()
    given = fleet.thresholds if fleet.reads("thresholds") else {}
    overrides = {name: threshold for name, threshold in given.items() if whole(threshold)}
    for fault in threshold_faults(fleet.rules, overrides) if overrides else ():
        findings.error(("thresholds", fault.name, *([fault.field] if fault.field else [])), fault.sentence)
    for unknown in no_data_faults(fleet.rules, fleet.no_data if fleet.reads("no_data") else ()):
        findings.error(("no_data", unknown.name), unknown.sentence)
    options = pack_options(fleet) if whole(fleet) else PackOptions()
    groups = _groups(loaded, options, findings)
    _check_owners(fleet, findings)
    _check_slos(fleet, options, findings)
    for sentence, rules in repeats(groups):
        group, rule = rules[-1]
        first = f"the first is at {rules[0][0].file}:{rules[0][1].line}"
        findings.elsewhere("warning", group.file, rule.line, f"{sentence}; {first}")
    own = [group for group in groups if not group.file.startswith(PREFIX)]
    metrics = fleet.metrics if fleet.reads("metrics") and whole(fleet.metrics) else Metrics()
    if not metrics.query_url:
        _check_own(loaded, own, groups, findings)
    if metrics.query_url:
        # Imported only here: the import takes long, few files need it, and `up` must refuse a bad file at once.
        from controlplane.app.metrics_elsewhere import unshipped

        for sentence in unshipped(metrics, groups):
            findings.warn(("metrics", "query_url"), sentence)
    return groups


def _groups(loaded: LoadedFleet, options: PackOptions, findings: Findings) -> tuple[RuleGroup, ...]:
    """Return the groups that can be read. A file that is named twice counts once."""
    base = loaded.path.parent
    seen: set[str] = set()
    groups: list[RuleGroup] = []
    for pack in expanded(loaded.fleet.rules):
        if pack not in loaded.fleet.rules:
            groups += load_pack(pack.removeprefix(PREFIX), options=options)
    for number, source in enumerate(loaded.fleet.rules):
        loc: Loc = ("rules", number)
        if source in seen:
            findings.warn(loc, f"{source} is named twice")
            continue
        seen.add(source)
        if source.startswith(PREFIX):
            try:
                groups += load_pack(source.removeprefix(PREFIX), options=options)
            except RuleError as error:
                findings.error(loc, f"{error.reason}{nearest(source, [PREFIX + name for name in BUILTIN])}")
            continue
        files = [file for file in matching_files(source, base) if str(file) not in seen]
        if not files:
            findings.warn(loc, "matches no file now; a file is read as soon as it exists")
        seen |= {str(file) for file in files}
        faults: list[RuleError] = []
        groups += describe_rules(files, faults) if files else ()
        for fault in faults:
            findings.elsewhere("error", fault.file, fault.line, fault.reason)
    return tuple(groups)


def _check_owners(fleet: Fleet, findings: Findings) -> None:
    for name in fleet.owners if fleet.reads("owners") else ():
        known = ["default", *BUILTIN]
        if name not in known:
            findings.error(("owners", name), not_one_of(name, "packs", known))


def _check_slos(fleet: Fleet, options: PackOptions, findings: Findings) -> None:
    """Add warnings for SLOs without rules, and for windows that are longer than the stored history."""
    if not options.slos:
        return  # there are none, or not everything could be read
    if PREFIX + "slo" not in expanded(fleet.rules):
        findings.warn(("rules",), "SLOs have no rules, so nothing measures them; add builtin:slo")
    kept = fleet.metrics.retention_recorded
    for number, model in enumerate(() if fleet.metrics.query_url else fleet.models):
        for at, slo in enumerate(model.slos):
            if slo.window > kept:
                sentence = f"is longer than metrics.retention_recorded ({format_duration(kept)}): the budget is that of"
                findings.warn(("models", number, "slos", at, "window"), f"{sentence} the last {format_duration(kept)}")


def _check_own(loaded: LoadedFleet, own: Sequence[RuleGroup], groups: Iterable[RuleGroup], findings: Findings) -> None:
    """Add a warning for the user's own rules that cannot be evaluated here or that read an unknown metric."""
    if not own:
        return
    expressions = Expressions()
    metrics = KnownMetrics(known_metrics(load_catalogue(), groups))
    free = any(
        group.reads("engine", "prometheus_config", "prometheus_operator")
        and (group.engine in (CUSTOM, AUTO) or group.lists_jobs)
        for group in loaded.fleet.targets
    )
    for group in own:
        for rule in group.rules:
            if why := expressions.fault(rule.expr):
                sentence = f"group {group.name}: {rule.name}: cannot be evaluated here: {why}"
                findings.elsewhere("warning", group.file, rule.line, sentence)
            for name, near in metrics.unknown(expressions.tree(rule.expr)):
                if free and not near:
                    continue  # such a target may expose anything
                hint = f"the nearest known name is {near}" if near else "no engine, rule or catalogue entry has it"
                sentence = f"group {group.name}: {rule.name}: metric {name} is not known; {hint}"
                findings.elsewhere("warning", group.file, rule.line, sentence)
