"""A prometheus.yml as a list of groups of targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alerts.errors import RuleError
from collectors.discovery.group import ListedGroups
from collectors.errors import DiscoveryError
from collectors.samples import Labels
from controlplane.app.targets.job_engines import of_engines
from controlplane.config.scraping.prometheus.jobs import read_jobs
from controlplane.config.scraping.targets import TargetGroup


@dataclass(frozen=True)
class PrometheusFile:
    """Implements collectors.discovery.group.GroupsFile."""

    path: Path
    section: TargetGroup
    """The entry of fleet.yaml that names the file."""
    models: Labels = ()
    """The engine's name of a model to fleet.yaml's."""

    def read(self) -> ListedGroups:
        """Return a group for each list of addresses of each job, with the job's engine. Blocking.

        Raises DiscoveryError, which names file and line, for what Prometheus would refuse.
        """
        try:
            read = read_jobs(self.path)
        except RuleError as error:
            raise DiscoveryError(str(error)) from error
        groups = of_engines((group for job in read.jobs for group in job.groups), self.section, self.models)
        return ListedGroups(groups, tuple(str(note) for note in read.notes), read.patterns)
