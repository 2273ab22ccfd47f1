"""logs.yaml: the logs that `controlplane log-exporter` reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field

from collectors.logs.settings import ENGINES, RESERVED, LogSettings, PodLog
from collectors.logs.shipping.settings import Destination
from collectors.samples import labels_of
from controlplane.config.checking import Fault, check
from controlplane.config.document import dotted, read_document
from controlplane.config.loader import in_order
from controlplane.config.reading import read_section
from controlplane.config.scraping.shipping import MAX_DESTINATIONS, AnyShip, ambiguous
from controlplane.config.vocabulary import FilePath, LabelName, Model, ModelName, Text, plain_path
from controlplane.errors import ConfigError, ConfigErrors

if TYPE_CHECKING:
    LogEngine: TypeAlias = str
else:
    LogEngine = Literal[ENGINES]

MAX_LOGS = 50
"""Most logs of an exporter. Chosen: each has a thread, and a host runs no more engines."""
PathPattern = Annotated[str, BeforeValidator(plain_path)]
"""A path, or a glob of paths."""
_PLACES = ("files", "journald", "docker", "kubernetes", "command")
_INSTEAD = {"model": "model:", "engine_instance": "instance:"}


class PodLogSection(Model):
    """The log of a container in Kubernetes."""

    namespace: Annotated[Text, Field(min_length=1, max_length=63)]
    name: Annotated[Text, Field(min_length=1)]
    """A pod, or a workload of which kubectl chooses a pod: `vllm-0`, `deploy/sglang`."""
    container: Annotated[Text, Field(min_length=1, max_length=63)] | None = None

    @check
    def _names_begin_with_no_dash(self) -> Iterator[Fault]:
        yield from options(self, ("namespace", "name", "container"))

    @property
    def settings(self) -> PodLog:
        """The settings of a valid section."""
        return PodLog(self.namespace, self.name, self.container or "")


def options(section: Model, fields: Sequence[str]) -> Iterator[Fault]:
    """Yield the fields that a program would read as its options."""
    for field in fields:
        if (getattr(section, field) or "").startswith("-"):
            yield Fault((field,), "begins with '-', so it would be read as an option")


class LogSection(Model):
    """One log: where it is, and whose it is."""

    engine: LogEngine
    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    """Label `log`. Default: the first of `files`, the unit, the container, the pod, or the command's first word."""
    files: tuple[PathPattern, ...] = ()
    journald: Annotated[Text, Field(min_length=1)] | None = None
    """A unit of systemd, or `kernel`."""
    docker: Annotated[Text, Field(min_length=1)] | None = None
    """A container's name or id."""
    kubernetes: PodLogSection | None = None
    command: tuple[Annotated[Text, Field(min_length=1)], ...] = ()
    """A program and its arguments, such as kubectl's."""
    model: ModelName | None = None
    """Label `model`: the model's name in fleet.yaml."""
    instance: Text | None = None
    """Label `engine_instance`: the engine's instance, as its metrics have it."""
    evidence: bool = True
    """Whether alerts show the first line of a fault, masked: it is the label `line` of `llm_log_line_info`."""
    labels: dict[LabelName, Text] = Field(default={})

    @check
    def _is_in_one_place(self) -> Iterator[Fault]:
        given = [place for place in _PLACES if getattr(self, place)]
        if not given:
            yield Fault((), f"needs one of {', '.join(f'{place}:' for place in _PLACES)}")
        elif len(given) > 1:
            yield Fault((given[1],), f"cannot be given beside {given[0]}:; make it a log of its own")

    @check
    def _names_begin_with_no_dash(self) -> Iterator[Fault]:
        yield from options(self, ("journald", "docker"))

    @check
    def _labels_are_free(self) -> Iterator[Fault]:
        for label in self.labels:
            if label in _INSTEAD:
                yield Fault(("labels", label), f"is set by {_INSTEAD[label]}")
            elif label in RESERVED or label.startswith("__"):
                yield Fault(("labels", label), "is a label that events have already; choose another name")

    @property
    def title(self) -> str:
        """The log's name."""
        pod = f"{self.kubernetes.namespace}/{self.kubernetes.name}" if self.kubernetes else ""
        return next(filter(None, (self.name, *self.files, self.journald, self.docker, pod, *self.command)), "")

    def settings(self, folder: Path) -> LogSettings:
        """Return the settings of a valid section. Relative paths are resolved from `folder`."""
        own = {"model": self.model or "", "engine_instance": self.instance or "", **self.labels}
        return LogSettings(
            name=self.title,
            engine=self.engine,
            files=tuple(str(folder / pattern) for pattern in self.files),
            journald=self.journald or "",
            docker=self.docker or "",
            kubernetes=self.kubernetes.settings if self.kubernetes else None,
            command=self.command,
            evidence=self.evidence,
            labels=labels_of(own),
        )


class LogsFile(Model):
    """The whole file."""

    logs: tuple[LogSection, ...] = Field(min_length=1, max_length=MAX_LOGS)
    ship: tuple[AnyShip, ...] = Field(default=(), max_length=MAX_DESTINATIONS)
    state: FilePath | None = None
    """File that keeps how far logs were read."""

    @check
    def _destinations_differ(self) -> Iterator[Fault]:
        yield from ambiguous(self.ship)

    @check
    def _names_differ(self) -> Iterator[Fault]:
        seen: dict[str, int] = {}
        for number, log in enumerate(self.logs):
            if log.title in seen:
                yield Fault(("logs", number), f"has the name of logs[{seen[log.title]}]; set name:")
            seen.setdefault(log.title, number)


class LogsGiven(NamedTuple):
    """Logs to read, and destinations of their lines."""

    logs: tuple[LogSettings, ...]
    ship: tuple[Destination, ...] = ()
    state: Path | None = None


def load_logs(path: Path) -> LogsGiven:
    """Read a logs.yaml. Raises ConfigErrors with one ConfigError per fault, in the order of lines."""
    document = read_document(path, fields="the field logs:")
    file, faults = read_section(LogsFile, document.data)
    if faults:
        raise ConfigErrors(in_order(document.error(*fault) for fault in faults))
    folder = path.absolute().parent
    logs = tuple(log.settings(folder) for log in file.logs)
    ship = tuple(one.destination(folder) for one in file.ship)
    return LogsGiven(logs, ship, folder / file.state if file.state else None)


def logs_of(given: Mapping[str, object]) -> LogsGiven:
    """Return the one log that options of the command line describe: the fields of a LogSection.

    Raises ConfigErrors, which name the fields but no lines.
    """
    log, faults = read_section(LogSection, dict(given))
    if faults:
        raise ConfigErrors([ConfigError(sentence, field=dotted(loc)) for loc, sentence in faults])
    return LogsGiven((log.settings(Path.cwd()),))
