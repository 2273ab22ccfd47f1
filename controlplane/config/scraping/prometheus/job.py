"""One job of a prometheus.yml: its groups of targets, and what of it is not taken over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from alerts.yaml_nodes import Place
from collectors.discovery.group import DiscoveryGroup
from collectors.relabel import RelabelRule
from collectors.samples import labels_of
from controlplane.config.notes import Note
from controlplane.config.reading import read_section
from controlplane.config.scraping.prometheus import access
from controlplane.config.scraping.prometheus.sd_configs import SD_CONFIGS
from controlplane.config.scraping.prometheus.sections import Section
from controlplane.config.scraping.relabel import TEXTS, RelabelSection, rules_of

_SD = (
    "aws", "azure", "consul", "digitalocean", "dns", "docker", "dockerswarm", "ec2", "eureka", "gce", "hetzner",
    "ionos", "kubernetes", "kuma", "lightsail", "linode", "marathon", "nerve", "nomad", "openstack", "ovhcloud",
    "puppetdb", "scaleway", "serverset", "stackit", "triton", "uyuni", "vultr",
)  # fmt: skip
_OTHER_SD = tuple(f"{name}_sd_configs" for name in _SD if f"{name}_sd_configs" not in SD_CONFIGS)
_TAKEN = (
    "job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "params", "honor_labels", "sample_limit",
    "static_configs", "file_sd_configs", *SD_CONFIGS, "relabel_configs", "metric_relabel_configs",
)  # fmt: skip
LIMITS = (
    "body_size_limit", "target_limit", "label_limit", "label_name_length_limit", "label_value_length_limit",
    "native_histogram_bucket_limit",
)  # fmt: skip
FORMATS = (
    "scrape_protocols", "scrape_failure_log_file", "keep_dropped_targets", "metric_name_validation_scheme",
    "metric_name_escaping_scheme", "convert_classic_histograms_to_nhcb", "always_scrape_classic_histograms",
)  # fmt: skip
_TOLD = (
    *LIMITS, *FORMATS, "fallback_scrape_protocol", "honor_timestamps", "track_timestamps_staleness",
    "enable_compression", "native_histogram_min_bucket_factor",
)  # fmt: skip
_KNOWN = (*_TAKEN, *_TOLD, *_OTHER_SD, *access.FIELDS)
_SILENT = ("", "0", "false", "none")
"""Values that limit or change nothing."""
_FILE_PATTERN = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")
_CONFIRMED = ("enable_compression", "follow_redirects")
"""Fields of which true is the default, and is what happens."""


@dataclass(frozen=True)
class Defaults:
    """Settings of jobs that have none of their own: those of `global`, in seconds."""

    interval_s: float = 60.0
    timeout_s: float = 10.0
    sample_limit: int = 0


class Job(NamedTuple):
    """A job. A job that is left out has no group."""

    name: str
    file: str
    line: int
    groups: tuple[DiscoveryGroup, ...]
    notes: tuple[Note, ...]


class _Reader:
    """Reads one job. Collects what is not taken over, and why the job is left out."""

    def __init__(self, file: str, folder: Path) -> None:
        self._file, self._folder = file, folder
        self.notes: list[Note] = []
        self.left_out = False
        self.name = ""

    def tell(self, section: Section, field: str, sentence: str) -> None:
        path = f"{section.path}.{field}".partition(".")[2]
        self.notes.append(Note(self._file, section.line(field), f"job {self.name}: {path} {sentence}"))

    def leave_out(self, section: Section, field: str, sentence: str) -> None:
        self.left_out = True
        self.tell(section, field, f"{sentence}, so the job is left out")

    def read(self, place: Place, defaults: Defaults) -> Job:
        named = place.within("scrape_configs").fields().get("job_name")
        self.name = named.text() if named else ""
        if not self.name:
            raise (named or place).within("scrape_configs").error("job_name: is required")
        job = Section(place, f"job {self.name}", _KNOWN)
        base = self._settings(job, defaults)
        groups = tuple(self._groups(job, base))
        for field in _OTHER_SD:
            at = job.at(field)
            if at and any(True for _ in at.items()):
                self.leave_out(job, field, "is not supported")
        for field in _TOLD:
            self._tell_unless_silent(job, field)
        return Job(self.name, self._file, place.line, () if self.left_out else groups, tuple(self.notes))

    def _tell_unless_silent(self, job: Section, field: str) -> None:
        at = job.at(field)
        value = next((each.text() for each in at.scalars()), "") if at else ""
        if value.lower() in _SILENT or (field in _CONFIRMED and value.lower() == "true"):
            return
        self.tell(job, field, "is not taken over" + ("; scrape: in fleet.yaml has limits" if field in LIMITS else ""))

    def _settings(self, job: Section, defaults: Defaults) -> DiscoveryGroup:
        """Return the job's settings as a group without addresses."""
        interval_s = job.seconds("scrape_interval", defaults.interval_s)
        timeout_s = job.seconds("scrape_timeout", min(defaults.timeout_s, interval_s))
        if timeout_s > interval_s:
            raise job.error("is longer than the interval", "scrape_timeout")
        params = job.at("params")
        values = {name: tuple(v.text() for v in at.items()) for name, at in params.fields().items()} if params else {}
        return DiscoveryGroup(
            "custom",
            job=self.name,
            scheme=job.text("scheme") or "http",
            path=job.text("metrics_path") or "/metrics",
            params=tuple(sorted(values.items())),
            interval_s=interval_s,
            timeout_s=timeout_s,
            auth=access.auth_of(job, self._folder, self.leave_out, self.tell),
            relabel=_rules(job, "relabel_configs"),
            metric_relabel=_rules(job, "metric_relabel_configs"),
            of_prometheus=True,
            honor_labels=job.flag("honor_labels"),
            sample_limit=job.number("sample_limit") or defaults.sample_limit,
        )

    def _groups(self, job: Section, base: DiscoveryGroup) -> Iterator[DiscoveryGroup]:
        for number, place in _items(job, "static_configs"):
            entry = Section(place, f"{job.path}.static_configs[{number}]", ("targets", "labels"))
            addresses, labels = entry.texts("targets"), entry.at("labels")
            if wrong := next((a for a in addresses if not a or ("/" in a and not base.relabel)), None):
                raise entry.error(f"{wrong[:80]!r} is no address", "targets")
            given = {name: value.text() for name, value in labels.fields().items()} if labels else {}
            yield replace(base, addresses=addresses, labels=labels_of(given))
        for number, place in _items(job, "file_sd_configs"):
            files = Section(place, f"{job.path}.file_sd_configs[{number}]", ("files", "refresh_interval"))
            patterns = files.texts("files")
            if not patterns:
                raise files.error("needs files: [paths]")
            if wrong := next((each for each in patterns if not _FILE_PATTERN.fullmatch(each)), None):
                raise files.error(
                    f"{wrong!r} is no path of a .json, .yml or .yaml file, with one * in its name", "files"
                )
            files.seconds("refresh_interval", 0)
            yield replace(base, file_sd=tuple(str(self._folder / each) for each in patterns))
        for field, kind in SD_CONFIGS.items():
            for number, place in _items(job, field):
                section = Section(place, f"{job.path}.{field}[{number}]", kind.fields)
                yield replace(base, sd=(kind.read(section, self._folder, self.leave_out, self.tell),))


def read_job(place: Place, file: str, folder: Path, defaults: Defaults) -> Job:
    """Return a job. Relative paths start at `folder`. Raises RuleError for what Prometheus refuses."""
    return _Reader(file, folder).read(place, defaults)


def _items(section: Section, field: str) -> Iterator[tuple[int, Place]]:
    at = section.at(field)
    for number, place in enumerate(at.items()) if at else ():
        if place.is_null:
            raise place.within(f"{section.path}.{field}[{number}]").error("expected a mapping, got nothing")
        yield number, place


def _rules(job: Section, field: str) -> tuple[RelabelRule, ...]:
    return rules_of(_rule(place.within(f"{job.path}.{field}[{number}]")) for number, place in _items(job, field))


def _rule(place: Place) -> RelabelSection:
    """Return one rule, read as in fleet.yaml."""
    fields = place.fields()
    section, faults = read_section(RelabelSection, {name: _written(name, at) for name, at in fields.items()})
    for fault in faults:
        name = str(fault.loc[0]) if fault.loc else ""
        at = fields.get(name, place).within(place.path)
        raise at.error(f"{name}: {fault.sentence}" if name else fault.sentence)
    return section


def _written(name: str, at: Place) -> Any:
    if at.is_null:
        return None
    if name == "source_labels" and not at.is_scalar:
        return [item.text() for item in at.items()]
    text = at.text()
    return int(text) if name not in TEXTS and text.isdecimal() and not at.is_quoted else text
