"""All faults of a fleet.yaml in one run. `check` prints them; `up` and a reload refuse a file that has one.

One wrong part hides no other: each check uses the parts that could be read and skips the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.app.checks.findings import Finding, Findings
from controlplane.app.checks.gateway import check_gateway
from controlplane.app.checks.identities import check_identities
from controlplane.app.checks.rotas import check_rotas
from controlplane.app.checks.routing import check_routing
from controlplane.app.checks.rules import check_rules
from controlplane.app.checks.surroundings import check_surroundings
from controlplane.app.checks.targets import Counted, check_targets
from controlplane.app.checks.verification import check_verification
from controlplane.config.loader import LoadedFleet, read_fleet
from controlplane.config.model import Fleet
from controlplane.config.rollout.section import RolloutsSection
from controlplane.errors import ConfigErrors


@dataclass(frozen=True)
class Report:
    """The result for one fleet.yaml. `loaded` lacks the parts that could not be read; without errors it is complete."""

    loaded: LoadedFleet
    findings: tuple[Finding, ...]
    targets: Counted
    rules: int

    @property
    def errors(self) -> list[Finding]:
        """The findings for which the file is refused."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The findings for which the file is not refused."""
        return [finding for finding in self.findings if finding.level == "warning"]

    @property
    def verdict(self) -> str:
        """The sentence for a file without errors, such as `fleet.yaml: good: 3 targets, 1 model, 20 rules`."""
        counts = [
            (self.targets.targets, "target"),
            *([(self.targets.dropped, "dropped target")] if self.targets.dropped else []),
            (len(self.loaded.fleet.models), "model"),
            (self.rules, "rule"),
            *([(len(self.warnings), "warning")] if self.warnings else []),
        ]
        told = ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts)
        return f"{self.loaded.document.path}: good: {told}"


def inspect_file(path: Path) -> Report:
    """Read and check a fleet.yaml and all that it names. Blocking. Raises ConfigErrors when it is not a YAML map."""
    read = read_fleet(path)
    findings = Findings(read.loaded, read.errors)
    groups = check_rules(read.loaded, findings)
    targets = check_targets(read.loaded, findings)
    check_routing(read.loaded, findings)
    check_rotas(read.loaded, findings)
    check_verification(read.loaded, findings)
    check_surroundings(read.loaded, findings)
    check_identities(read.loaded, findings)
    check_gateway(read.loaded, findings)
    if read.loaded.fleet.reads("backup") and read.loaded.fleet.backup is not None:
        # Imported only here: the import takes long, few files need it, and `up` must refuse a bad file at once.
        from controlplane.app.checks.backups import check_backups

        check_backups(read.loaded, groups, findings)
    if has_options(read.loaded.fleet):
        # Imported only here: the import takes long, few files need it, and `up` must refuse a bad file at once.
        from controlplane.app.checks.rollouts import check_rollouts

        check_rollouts(read.loaded, groups, findings)
    rules = sum(len(group.rules) for group in groups)
    return Report(read.loaded, findings.sorted(), targets, rules)


def has_options(fleet: Fleet) -> bool:
    """Return whether the readable part of a file sets options of rollouts."""
    models = fleet.models if fleet.reads("models") else ()
    own = any(model.reads("rollout") and model.rollout is not None for model in models)
    return own or (fleet.reads("rollouts") and fleet.rollouts != RolloutsSection())


def accepted(path: Path) -> tuple[LoadedFleet, Sequence[str]]:
    """Return a fleet.yaml without errors, and its warnings. Blocking. Raises ConfigErrors with every fault."""
    report = inspect_file(path)
    if report.errors:
        raise ConfigErrors([finding.fault for finding in report.errors])
    return report.loaded, [str(finding) for finding in report.warnings]
