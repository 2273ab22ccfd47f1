"""Reads the jobs of a prometheus.yml. What Prometheus refuses is refused, and what is not taken over is told."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alerts.errors import RuleError
from alerts.yaml_nodes import read_text, read_yaml
from collectors.discovery.files import matching
from collectors.errors import DiscoveryError
from controlplane.config.notes import Note
from controlplane.config.scraping.prometheus.job import FORMATS, LIMITS, Defaults, Job, read_job
from controlplane.config.scraping.prometheus.sections import Section

_ELSEWHERE = {
    "alerting": "list receivers under notifiers: or notifications:",
    "rule_files": "list the files under rules:",
    "remote_write": "write metrics.remote_write:",
    "remote_read": "",
    "storage": "write metrics:",
    "runtime": "",
    "tracing": "",
    "otlp": "",
}
"""Fields of the whole file that have no effect here, and what fleet.yaml has instead."""
_TAKEN_DEFAULTS = ("scrape_interval", "scrape_timeout", "sample_limit")
_DEFAULTS = (
    *_TAKEN_DEFAULTS, *LIMITS, *FORMATS, "evaluation_interval", "rule_query_offset", "query_log_file",
    "external_labels",
)  # fmt: skip


class Jobs(NamedTuple):
    """The jobs of a file."""

    jobs: tuple[Job, ...]
    notes: tuple[Note, ...]
    """Everything that is not taken over, in the order of files and lines."""
    patterns: tuple[str, ...]
    """Absolute paths and globs of `scrape_config_files`."""


def read_jobs(path: Path) -> Jobs:
    """Return the jobs of a prometheus.yml and of its `scrape_config_files`. Blocking.

    Raises RuleError, with file and line, for what Prometheus would refuse.
    """
    file = str(path)
    known = ("global", "scrape_configs", "scrape_config_files", *_ELSEWHERE)
    whole = Section(read_yaml(read_text(path, "a prometheus.yml"), file), "", known)
    notes: list[Note] = []
    defaults = _defaults(whole, file, notes)
    for name, instead in _ELSEWHERE.items():
        if whole.at(name):
            words = f"{name} is not taken over{'; ' if instead else ''}{instead}"
            notes.append(Note(file, whole.line(name), words))
    jobs = _jobs(whole, file, path.parent, defaults)
    patterns = tuple(str(path.parent / each) for each in whole.texts("scrape_config_files"))
    for pattern in patterns:
        jobs += _jobs_of_pattern(whole, Path(pattern), defaults)
    by_name: dict[str, Job] = {}
    for job in jobs:
        if job.name in by_name:
            first = by_name[job.name]
            raise RuleError(f"job {job.name} is at {first.file}:{first.line} too", file=job.file, line=job.line)
        by_name[job.name] = job
    notes += [note for job in jobs for note in job.notes]
    ordered = sorted(dict.fromkeys(notes), key=lambda note: (note.file != file, note.file, note.line))
    return Jobs(tuple(jobs), tuple(ordered), patterns)


def _defaults(whole: Section, file: str, notes: list[Note]) -> Defaults:
    section = Section(whole.at("global"), "global", _DEFAULTS)
    interval_s = section.seconds("scrape_interval", Defaults.interval_s)
    timeout_s = section.seconds("scrape_timeout", min(Defaults.timeout_s, interval_s))
    if timeout_s > interval_s:
        raise section.error("is longer than the interval", "scrape_timeout")
    for name in section.names():
        if name not in _TAKEN_DEFAULTS:
            notes.append(Note(file, section.line(name), f"global.{name} is not taken over"))
    return Defaults(interval_s, timeout_s, section.number("sample_limit"))


def _jobs_of_pattern(whole: Section, pattern: Path, defaults: Defaults) -> list[Job]:
    try:
        paths = matching(pattern)
    except DiscoveryError as error:
        raise whole.error(str(error), "scrape_config_files") from error
    found: list[Job] = []
    for path in paths:
        text = read_text(path, "a file of scrape_configs")
        section = Section(read_yaml(text, str(path)), "", ("scrape_configs",))
        found += _jobs(section, str(path), path.parent, defaults)
    return found


def _jobs(section: Section, file: str, folder: Path, defaults: Defaults) -> list[Job]:
    at = section.at("scrape_configs")
    found: list[Job] = []
    for place in at.items() if at else ():
        if place.is_null:
            raise place.within("scrape_configs").error("expected a job, got nothing")
        found.append(read_job(place, file, folder, defaults))
    return found
