"""Check targets: missing ones, ones that are listed twice, and ones with the same labels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from alerts.errors import RuleError
from collectors.discovery.answers import Answer
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import SdConfig
from collectors.engines.kinds import ENGINES
from collectors.errors import DiscoveryError
from collectors.target import Target
from controlplane.app.checks.findings import Findings
from controlplane.app.checks.secrets import faults_of
from controlplane.app.targets.plan import ScrapePlan, plan_scraping
from controlplane.app.targets.prometheus_file import PrometheusFile
from controlplane.config.checking import Loc
from controlplane.config.document import dotted
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet, FleetSection, ScrapeSection
from controlplane.config.models import ModelSection
from controlplane.config.scraping.prometheus.jobs import read_jobs
from controlplane.config.scraping.targets import SD_FIELDS, TargetGroup
from controlplane.config.vocabulary import whole
from controlplane.config.wording import not_one_of
from controlplane.discovery.monitors.listing import OTHERS
from controlplane.errors import ConfigErrors

Placed = tuple[Loc, Target]
SOURCE_WAIT_S = 5.0
"""Maximum seconds for the answer of a source of addresses. Chosen: a reload waits for it."""


class Counted(NamedTuple):
    """The current number of endpoints of a file."""

    targets: int
    dropped: int
    """Those that `relabel_configs` drop."""


class _Entry(NamedTuple):
    """Targets and dropped endpoints of one entry of a group."""

    targets: list[Placed]
    dropped: int = 0


def check_targets(loaded: LoadedFleet, findings: Findings) -> Counted:
    """Add the faults of targets. Return their current number. Blocking."""
    fleet = loaded.fleet
    found: list[Placed] = []
    dropped = 0
    for number, group in enumerate(fleet.targets if fleet.reads("targets") else ()):
        if whole(group) and group.prometheus_config:
            targets, gone = _of_file(loaded, group, group.prometheus_config, ("targets", number), findings)
            found += targets
            dropped += gone
        elif whole(group) and group.prometheus_operator:
            targets, gone = _of_monitors(loaded, group, ("targets", number), findings)
            found += targets
            dropped += gone
        elif whole(group):
            entries = list(_listed(loaded, group, ("targets", number), findings))
            of_group = [placed for entry in entries for placed in entry.targets]
            found += of_group
            gone = sum(entry.dropped for entry in entries)
            dropped += gone
            if gone and not of_group:
                findings.warn(("targets", number, "relabel_configs"), f"drops every target of this group: {gone}")
    for number, model in enumerate(fleet.models if fleet.reads("models") else ()):
        if whole(model):
            found += _backends(loaded, model, ("models", number), findings)
    if fleet.reads("targets", "models") and not fleet.targets and not any(_serving(m) for m in fleet.models):
        findings.warn(("targets",), "nothing is scraped: targets: is empty, and no model has backends")
    _compare(found, findings)
    return Counted(len({target.key for _, target in found}), dropped)


def _serving(model: ModelSection) -> bool:
    return not whole(model) or bool(model.traffic.backends or any(v.backends for v in model.versions.values()))


def _planned(
    loaded: LoadedFleet, *, targets: tuple[TargetGroup, ...] = (), models: tuple[ModelSection, ...] = ()
) -> ScrapePlan:
    """Return the scrape plan of the given sections alone. Raises ConfigErrors."""
    scrape = loaded.fleet.scrape if loaded.fleet.reads("scrape") and whole(loaded.fleet.scrape) else ScrapeSection()
    some = Fleet.model_construct(fleet=FleetSection(name="checked"), scrape=scrape, targets=targets, models=models)
    return plan_scraping(replace(loaded, fleet=some))


def _listed(loaded: LoadedFleet, group: TargetGroup, loc: Loc, findings: Findings) -> Iterator[_Entry]:
    for number, url in enumerate(group.urls):
        yield _one(loaded, group, {"urls": (url,)}, (*loc, "urls", number), findings)
    for number, address in enumerate(group.addresses):
        yield _one(loaded, group, {"addresses": (address,)}, (*loc, "addresses", number), findings)
    for number, pattern in enumerate(group.file_sd):
        yield _one(loaded, group, {"file_sd": (pattern,)}, (*loc, "file_sd", number), findings)
    for field in SD_FIELDS:
        for number, source in enumerate(getattr(group, field)):
            yield _one(loaded, group, {field: (source,)}, (*loc, field, number), findings)
    by_default = group.engine == "nvml" or group.account
    if by_default and not (group.urls or group.listed):
        yield _one(loaded, group, {}, loc, findings)


def _one(
    loaded: LoadedFleet, group: TargetGroup, only: dict[str, tuple[object, ...]], loc: Loc, findings: Findings
) -> _Entry:
    """Return what one entry of a group lists."""
    alone = group.model_copy(update=dict.fromkeys(("urls", "addresses", "file_sd", *SD_FIELDS), ()) | only)
    try:
        discovery = Discovery(_planned(loaded, targets=(alone,)).groups, loaded.path.parent)
    except ConfigErrors as error:
        for fault in error.errors:
            findings.error(loc, fault.reason)
        return _Entry([])
    except DiscoveryError as refused:
        findings.error(loc, str(refused))
        return _Entry([])
    targets = _asked(discovery)
    for problem in discovery.errors:
        findings.warn(loc, str(problem))
    if not targets and not discovery.errors and not discovery.dropped:
        read = discovery.files or discovery.sources
        findings.warn(loc, "lists no targets" if read else "matches no file now; a file is read as soon as it exists")
    return _Entry([(loc, target) for target in targets], len(discovery.dropped))


def _asked(discovery: Discovery) -> list[Target]:
    """Return the targets of a discovery after its sources were asked once, all at the same time.

    A source of groups names more sources, which are asked next.
    """
    targets = discovery.refresh()
    answers: dict[SdConfig, Answer] = {}

    def list_of(source: SdConfig) -> Answer:
        return answers.get(source) or Answer()

    while wanted := [source for source in discovery.sources if source not in answers]:
        answers.update(_answers(wanted))
        targets = discovery.refresh(list_of)
    return targets


def _answers(wanted: Sequence[SdConfig]) -> Mapping[SdConfig, Answer]:
    # Imported only here: the import takes long, few files need it, and `up` must refuse a bad file at once.
    from collectors.discovery.asking import ask_once
    from collectors.discovery.polling import Means
    from controlplane.app.targets.followers import followers

    asking = ask_once(wanted, SOURCE_WAIT_S, followers(Means()))
    with ThreadPoolExecutor(1) as thread:  # an event loop may run in this one
        return thread.submit(asyncio.run, asking).result()


def _of_file(
    loaded: LoadedFleet, group: TargetGroup, path: Path, loc: Loc, findings: Findings
) -> tuple[list[Placed], int]:
    """Return the targets of a prometheus.yml and the number of dropped ones. Add what is not taken over from it."""
    try:
        read = read_jobs(path)
    except RuleError as error:
        findings.elsewhere("error", error.file, error.line, error.reason)
        return [], 0
    for note in read.notes:
        findings.elsewhere("warning", note.file, note.line, note.text)
    names = [job.name for job in read.jobs]
    for name in group.engines:
        if name not in names:
            findings.warn((*loc, "engines", name), not_one_of(name, "the jobs of the file", names))
    at = (*loc, "prometheus_config")
    for job in read.jobs:
        for fault in {fault: None for one in job.groups if one.auth for fault in faults_of(one.auth)}:
            findings.warn(at, f"job {job.name}: {fault}")
    discovery = Discovery((), loaded.path.parent, [PrometheusFile(path, group)])
    targets = _asked(discovery)
    for problem in discovery.errors:
        findings.warn(at, str(problem))
    if not targets and not discovery.errors:
        findings.warn(at, "lists no targets")
    return [(at, target) for target in targets], len(discovery.dropped)


def _of_monitors(loaded: LoadedFleet, group: TargetGroup, loc: Loc, findings: Findings) -> tuple[list[Placed], int]:
    """Return the targets of a cluster's monitors and the number of dropped ones. Add what is not taken over."""
    at = (*loc, "prometheus_operator")
    plan = _planned(loaded, targets=(group,))
    discovery = Discovery((), loaded.path.parent, groups_sources=plan.monitors)
    targets = _asked(discovery)
    told = [*map(str, discovery.errors), *discovery.left_out, *discovery.remarks]
    for sentence in told:
        findings.warn(at, sentence)
    if not targets and not told:
        findings.warn(at, "lists no targets")
    jobs = [job for job in discovery.jobs if job != OTHERS]
    for name in group.engines:
        if jobs and name not in jobs:
            findings.warn((*loc, "engines", name), not_one_of(name, "the jobs of the monitors", jobs))
    return [(at, target) for target in targets], len(discovery.dropped)


def _backends(loaded: LoadedFleet, model: ModelSection, loc: Loc, findings: Findings) -> list[Placed]:
    if not _serving(model):
        findings.warn(loc, f"{model.name} has no backends under traffic: or versions:, so it is not scraped")
        return []
    stable = model.versions[model.stable]
    if not model.traffic.backends and not stable.backends:
        findings.warn((*loc, "versions", model.stable), "is the stable version and has no backends")
    try:
        targets = Discovery(_planned(loaded, models=(model,)).groups, loaded.path.parent).refresh()
    except DiscoveryError as error:
        findings.error(loc, str(error))
        return []
    return [(loc, target) for target in targets]


def _compare(found: list[Placed], findings: Findings) -> None:
    """Add a warning for addresses that are scraped twice, and for targets whose series have the same labels."""
    keys: dict[str, Placed] = {}
    urls: dict[tuple[object, ...], Placed] = {}
    names: dict[tuple[object, ...], Placed] = {}
    for loc, target in found:
        first, other = keys.setdefault(target.key, (loc, target))
        if (first, other) != (loc, target):
            if not _of_a_model(first, loc) or replace(other, models=()) != replace(target, models=()):
                findings.warn(loc, _repeated(target, other, first))
            continue
        first, other = urls.setdefault(_scraped(target), (loc, target))
        if other is not target and "readiness" not in (other.engine, target.engine):
            findings.warn(
                loc,
                f"{target.url} is scraped twice, as {_known_as(other)} {_at(first)} and as {_known_as(target)}:"
                " sums over jobs count it twice",
            )
            continue
        first, other = names.setdefault((target.job, target.instance, target.labels), (loc, target))
        if other is not target:
            findings.warn(
                loc,
                f"{target.url} has the same labels as {other.url} {_at(first)}, so their series would be"
                " mixed; give one of them its own label instance:",
            )


def _scraped(target: Target) -> tuple[object, ...]:
    """Return what two targets have in common that read the same numbers. At a provider the key decides the account."""
    kind = ENGINES.get(target.engine)
    if kind and kind.metered:  # the keys are not in the target, but accounts have jobs of their own
        return target.url, target.engine, target.job
    return target.url, target.auth if kind and kind.hosted else None


def _of_a_model(first: Loc, second: Loc) -> bool:
    """Return whether both places are backends of models: two models on one server are one target on purpose."""
    return first[:1] == second[:1] == ("models",)


def _repeated(target: Target, other: Target, first: Loc) -> str:
    if other == target:
        return f"{target.url} is also listed {_at(first)}; it is scraped once"
    return (
        f"{target.url} is also listed {_at(first)} with other settings, and only those are used; "
        "remove one entry, or give it its own label job: or instance:"
    )


def _known_as(target: Target) -> str:
    return f"{target.job}/{target.instance}"


def _at(loc: Loc) -> str:
    return f"at {dotted(loc)}"
