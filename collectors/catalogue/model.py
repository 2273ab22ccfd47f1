"""The name catalogue: canonical metrics, and the raw samples that each one comes from. Its data is catalogue.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from collectors.errors import CatalogueError
from collectors.yaml_text import YamlError, load_values

MetricType = Literal["counter", "gauge", "histogram"]
Part = Literal["sum", "count"]

SUFFIXES = ("_bucket", "_sum", "_count")
"""Ends of the names of a histogram's samples."""
GUEST = r"[0-9a-f]{12}|[0-9a-f]{64}|.*(?:dcgm|exporter).*-[bcdfghjklmnpqrstvwxz2456789]{5}"
"""Pattern of a whole host name that is the id of a container, or the name of an exporter's pod. It is new at every
start. Pods' random letters alone are no sign: machines of the Cluster API have them too."""
NAME = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"
LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
SampleName = Annotated[str, Field(pattern=NAME)]
LabelName = Annotated[str, Field(pattern=LABEL)]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


LabelMap = Mapping[LabelName, Annotated[tuple[LabelName, ...], BeforeValidator(_as_tuple)]]
"""Raw label to the canonical labels that get its value."""
ValueMap = Mapping[LabelName, Mapping[str, str]]
"""Canonical label to {raw value: canonical value}. The key `*` is the default; `{}` stands for the raw value."""
Selector = Mapping[LabelName, Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]]
"""Raw label to the values that are selected. A label that is absent has the value ""."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(_Entry):
    """One canonical metric."""

    type: MetricType
    unit: str
    help: str
    labels: tuple[LabelName, ...] = ()
    """Labels of this metric, beside those of every canonical series."""
    board: bool = False
    """Whether it describes a whole GPU. Exporters repeat the number for every MIG instance of the GPU."""
    semconv: str | None = None
    """OpenTelemetry name for export; None when there is no convention."""


class CatalogueSource(_Entry):
    """One source of a canonical metric in an engine's samples. The top of catalogue.yaml explains the fields."""

    from_: tuple[SampleName, ...] = Field(default=(), alias="from")
    sum: tuple[SampleName, ...] = ()
    factor: float = Field(default=1.0, gt=0)
    part: Part | None = None
    where: Selector = {}
    unless: Selector = {}
    """Samples that are left out: those with one of these values of every label here."""
    by_help: ValueMap = {}
    """Canonical label to {words in the HELP text: value}, for names that stayed when their meaning changed."""
    set: Mapping[LabelName, str] = {}
    labels: LabelMap = {}
    values: ValueMap = {}
    combine: Literal["keep", "sum"] = "keep"

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Return whether a sample with these labels is one of the source's."""
        return _selects(self.where, labels) and not (self.unless and _selects(self.unless, labels))

    @model_validator(mode="after")
    def _one_origin(self) -> CatalogueSource:
        if bool(self.from_) == bool(self.sum):
            raise ValueError("needs exactly one of from: and sum:")
        if len(self.sum) == 1:
            raise ValueError("sum: needs at least two samples; use from:")
        return self


def _selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    return all(labels.get(raw, "") in values for raw, values in selector.items())


class Engine(_Entry):
    """Catalogue entry of one engine kind."""

    note: str = ""
    labels: LabelMap = {}
    values: ValueMap = {}
    repeats: tuple[LabelName, ...] = ()
    """Raw labels by which an engine repeats one number: tensor-parallel ranks, the pods of a shared GPU."""
    slices: tuple[LabelName, ...] = ()
    """Raw labels that tell the MIG instances of a GPU apart. Of metrics of the whole board they are repeats."""
    guests: tuple[LabelName, ...] = ()
    """Raw labels that may name a pod or a container (GUEST) instead of the node. Such a value is left out."""
    prefixes: Mapping[str, tuple[str, ...]] = {}
    """Prefix of raw names to other prefixes that some installations of the engine give them."""
    signs: tuple[SampleName, ...] = ()
    """Raw names that only this engine exposes and no source reads. Its pages are recognised by them, too."""
    hosts: tuple[str, ...] = ()
    """Engines that run inside this one, and whose metrics are in its page beside its own."""
    expected: tuple[str, ...] = ()
    native: Mapping[str, str] = {}
    sources: Mapping[str, tuple[CatalogueSource, ...]] = {}

    @cached_property
    def raw_names(self) -> frozenset[str]:
        """The raw names that the sources read."""
        return frozenset(raw for sources in self.sources.values() for one in sources for raw in (*one.from_, *one.sum))

    @cached_property
    def _aliases(self) -> Mapping[str, str]:
        return {
            other + name.removeprefix(prefix): name
            for prefix, others in self.prefixes.items()
            for name in self.raw_names
            if name.startswith(prefix)
            for other in others
        }

    def is_bare(self, raw: str) -> bool:
        """Return whether a raw name is one of the sources' without any prefix, so that other programs may have it."""
        name = self.name_of(raw)
        return name != raw and any(name == prefix + raw for prefix, others in self.prefixes.items() if "" in others)

    def name_of(self, raw: str) -> str:
        """Return the name under which the sources know a raw sample: with the engine's own prefix."""
        if not self.prefixes:
            return raw
        base, end = next(((raw.removesuffix(end), end) for end in SUFFIXES if raw.endswith(end)), (raw, ""))
        return self._aliases.get(raw) or (self._aliases[base] + end if base in self._aliases else raw)


class Catalogue(_Entry):
    """All canonical metrics, and the sources of every engine. Immutable; `load_catalogue` makes it."""

    metrics: Mapping[str, Metric]
    engines: Mapping[str, Engine]

    def names(self) -> tuple[str, ...]:
        """Return the canonical metric names, sorted."""
        return tuple(sorted(self.metrics))

    def expected(self, engine: str) -> tuple[str, ...]:
        """Return the canonical metrics of a default installation of `engine`; empty for an unknown engine."""
        known = self.engines.get(engine)
        return known.expected if known else ()

    def family(self, sample: str) -> str | None:
        """Return the canonical metric of a sample (`llm_x_bucket` -> the histogram `llm_x`), or None."""
        if sample in self.metrics:
            return sample
        base, _, part = sample.rpartition("_")
        metric = self.metrics.get(base)
        return base if metric and metric.type == "histogram" and part in ("bucket", "sum", "count") else None

    @model_validator(mode="after")
    def _references(self) -> Catalogue:
        for engine_name, engine in self.engines.items():
            for name in (*engine.expected, *engine.native, *engine.sources):
                if name not in self.metrics:
                    raise ValueError(f"engines.{engine_name}: {name} is not declared under metrics")
            for host in engine.hosts:
                if host not in self.engines:
                    raise ValueError(f"engines.{engine_name}.hosts: there is no engine {host}")
            for name in engine.expected:
                if name not in engine.native and name not in engine.sources:
                    raise ValueError(f"engines.{engine_name}.expected: {name} has no source")
            for name, sources in engine.sources.items():
                metric = self.metrics[name]
                for index, source in enumerate(sources):
                    _check_source(f"engines.{engine_name}.sources.{name}[{index}]", metric, engine, source)
        return self


def _check_source(where: str, metric: Metric, engine: Engine, source: CatalogueSource) -> None:
    if source.part and metric.type != "histogram":
        raise ValueError(f"{where}: part: is for histograms, and this is a {metric.type}")
    if source.sum and metric.type == "histogram" and not source.part:
        raise ValueError(f"{where}: sum: cannot add up whole histograms")
    renamed = {to for tos in source.labels.values() for to in tos}
    produced = {*source.set, *source.by_help, *renamed}
    if "outcome" in renamed and "outcome" not in source.set:
        raise ValueError(f"{where}: outcome comes from a raw label; set: its value for samples without that label")
    if unknown := produced - set(metric.labels):
        raise ValueError(f"{where}: label {min(unknown)} is not one of the metric's labels {list(metric.labels)}")
    for label, values in source.by_help.items():
        if "*" not in values:
            raise ValueError(f"{where}: by_help: {label} needs a default, '*'")
    mapped = produced | {to for tos in engine.labels.values() for to in tos}
    if unknown := set(source.values) - mapped:
        raise ValueError(f"{where}: values: names label {min(unknown)}, which nothing sets")


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Load and check the catalogue at `path` (None: the packaged one, which a process reads once).

    Raises CatalogueError, which names the file and the entry.
    """
    return _packaged() if path is None else _load(path)


@cache
def _packaged() -> Catalogue:
    return _load(resources.files("collectors.catalogue") / "catalogue.yaml")


def _load(resource: Path | Traversable) -> Catalogue:
    try:
        data = load_values(resource.read_text(encoding="utf-8"))
        return Catalogue.model_validate(data)
    except OSError as error:
        raise CatalogueError(f"{resource}: {error.strerror or error}") from error
    except YamlError as error:
        raise CatalogueError(f"{resource}: {error}") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{resource}: not YAML: {error}") from error
    except ValidationError as error:
        raise CatalogueError("\n".join(f"{resource}: {line}" for line in _problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message}" if where else message)
    return lines
