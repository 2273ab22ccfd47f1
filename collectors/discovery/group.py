"""A group of targets as the configuration lists them: where they come from, and the settings that they share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from collectors.discovery.monitors.rule_words import RuleWords
from collectors.relabel import RelabelRule, dropping
from collectors.samples import Labels
from collectors.target import Auth


class SdConfig(Protocol):
    """Settings of a source of addresses other than files: an `..._sd_config`. Equal settings are one source."""

    @property
    def place(self) -> str:
        """The source for messages, without anything secret."""
        ...

    @property
    def identity(self) -> Hashable:
        """Equal for settings of one owner that have the same list, whatever their credentials: such as the URL."""
        ...

    def __hash__(self) -> int:
        """Return a hash of the settings."""
        ...


@dataclass(frozen=True)
class DiscoveryGroup:
    """Targets of one engine kind that share labels and credentials.

    `addresses` are `host:port`; `scheme` and `path` complete them. `urls` are complete (`local:nvml` too). `file_sd`
    are paths or globs of files that list addresses; `sd` are other sources of addresses.
    """

    engine: str
    addresses: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    file_sd: tuple[str, ...] = ()
    sd: tuple[SdConfig, ...] = ()
    labels: Labels = ()
    models: Labels = ()
    scheme: str = "http"
    path: str = "/metrics"
    """Path of the metrics. It may have a query string."""
    interval_s: float = 15.0
    timeout_s: float = 10.0
    auth: Auth | None = None
    relabel: tuple[RelabelRule, ...] = ()
    """Rules for the labels of an address, before it becomes a target. They do not apply to `urls`."""
    metric_relabel: tuple[RelabelRule, ...] = ()
    """Rules for the labels of each sample of the targets."""
    job: str = ""
    """Label `job` of addresses that have none; "" stands for the engine."""
    params: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Parameters of the URL, each with its values. Rules see the first value as `__param_NAME`."""
    of_prometheus: bool = False
    """Whether addresses are as in Prometheus: their port may be left out, and a wrong one affects only itself."""
    honor_labels: bool = False
    """Whether labels of a sample take precedence over those of its target."""
    sample_limit: int = 0
    """Largest number of samples that `metric_relabel` may leave of a scrape; 0: any number."""
    words: RuleWords | None = None
    """Words for `relabel` where it was made of other settings."""
    last_resort: tuple[str, ...] = ()
    """Labels that say what an address belongs to. With any, the group only says why something is not scraped: an
    address that it drops is told only where no other group has one with the same values of these labels."""


@dataclass(frozen=True)
class DroppedTarget:
    """An address that the rules of its group drop."""

    job: str
    """Its job before the rules."""
    discovered: Labels
    """Its labels before the rules."""
    rules: tuple[RelabelRule, ...] = ()
    words: RuleWords | None = None
    """Words for the rules where nobody has written them."""
    last_resort: tuple[str, ...] = ()
    """Labels by which it is looked for in other groups, and told only if it is in none."""

    @cached_property
    def reason(self) -> str:
        """The rule that drops it, with the values that the rule compares. Found when first asked for."""
        found = dropping(dict(self.discovered), self.rules)
        if found is None:
            return "it has no address yet: a pod that waits has no IP"
        return self.words.told(found) if self.words else str(found)


Objects = Mapping[str, Sequence[Mapping[str, Any]]]
"""Answer of a source of groups: parsed JSON objects by their kind, as the source names it. Never changed in place."""


class ListedGroups(NamedTuple):
    """The groups in a file of groups, or of a source of groups."""

    groups: tuple[DiscoveryGroup, ...]
    remarks: tuple[str, ...] = ()
    """One sentence about each part of the file that has no effect."""
    patterns: tuple[str, ...] = ()
    """Absolute paths, or globs of paths, of the other files that were read for it."""
    left_out: tuple[str, ...] = ()
    """One sentence about each part that is left out, with its cure. The other parts do not suffer from it."""


class GroupsFile(Protocol):
    """A file that lists groups and may change at any time."""

    @property
    def path(self) -> Path:
        """Its absolute path."""
        ...

    def read(self) -> ListedGroups:
        """Return its groups. Blocking. Raises DiscoveryError, which names file and line."""
        ...


class GroupsSource(Protocol):
    """A source that is asked for objects, of which each may be some groups."""

    @property
    def sd(self) -> SdConfig:
        """Settings of the source. Its answer has objects instead of entries."""
        ...

    def groups(self, objects: Objects) -> ListedGroups:
        """Return the groups of an answer. Raises nothing: a bad object is left out, and told."""
        ...
