"""Maps an engine's samples to canonical names: raw series as Prometheus stores them, canonical series as views.

Pure, and run once per layout, without values. A view can therefore not leave out a value that stands for "no value".
Such lines are removed from the body before it is parsed (see collectors.gpu.exporters).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from collectors.catalogue.model import GUEST, SUFFIXES, Catalogue, CatalogueSource, Engine, LabelMap, Metric, ValueMap
from collectors.catalogue.recognition import instead
from collectors.engines.kinds import ENGINES
from collectors.errors import Relabelled
from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import packed
from collectors.exposition.parser import normalised_float
from collectors.relabel import relabelled
from collectors.samples import METRIC_NAME, Labels, Layout, Metadata, Picked, Series, View, labels_of
from collectors.target import Lack, Target

_GUEST = re.compile(GUEST)
_FROM_TARGET = ("model", "version", "node", "source")
"""Labels for which the configuration takes precedence over the engine."""


class _Context(NamedTuple):
    target: Target
    metadata: Mapping[str, Metadata]
    unknown: dict[str, set[str]]
    """Filled by the mapping: raw labels that the catalogue does not know, by canonical metric."""
    boards: frozenset[str]
    """Canonical metrics that describe a whole GPU."""
    target_labels: Mapping[str, str]
    """The configuration's labels without job."""
    models: Mapping[str, str]
    engine: Engine
    interner: Interner


class _Sample(NamedTuple):
    column: int
    labels: Mapping[str, str]


def canonical_layout(
    parsed_series: Sequence[Series],
    metadata: Mapping[str, Metadata],
    target: Target,
    catalogue: Catalogue,
    interner: Interner | None = None,
) -> Layout:
    """Return the layout of a parsed body: its raw series are those of the body that stay; views are canonical.

    Raw series get job, instance and the target's labels. A scraped label of the same name becomes `exported_<name>`, or
    takes the place of the target's with `honor_labels`.
    Then the target's `metric_relabel` applies, and the catalogue maps what it leaves: of series that it made equal, the
    first. A sample that already has a canonical name is stored once, with the canonical labels added. An engine that is
    not in the catalogue (`custom`) gets no views. Layouts made with one `interner` share equal names and labels; None
    makes a new one for this layout. Raises Relabelled when a rule takes the name of a sample that it does not drop.
    """
    interner = interner or Interner()
    engine = catalogue.engines.get(target.engine)
    target_labels = {name: value for name, value in target.labels if name != "job" and value}
    unknown: dict[str, set[str]] = {}
    boards = frozenset(name for name, metric in catalogue.metrics.items() if metric.board)
    context = (
        _Context(target, metadata, unknown, boards, target_labels, dict(target.models), engine, interner)
        if engine
        else None
    )

    raw: list[Series] = []
    taken: set[Series] = set()
    mapped: list[Series] = []
    positions: list[int] = []
    left = 0
    for position, series, labels in _left(parsed_series, target):
        left += 1
        if context and catalogue.family(series.name):
            labels = _native_labels(labels, dict(series.labels), context)
        identity = Series(interner.shared(series.name), interner.labels(labels))
        if identity in taken:
            if target.metric_relabel:
                continue
            identity = _unique(identity, taken, interner)
        taken.add(identity)
        raw.append(identity)
        mapped.append(series)
        positions.append(position)

    views = tuple(_views(mapped, taken, context, catalogue)) if context else ()
    names = {catalogue.family(view.series.name) or view.series.name for view in views}
    described = {n: Metadata(catalogue.metrics[n].type, catalogue.metrics[n].help) for n in sorted(names)}
    told = tuple(f"{name}: {', '.join(sorted(labels))}" for name, labels in sorted(unknown.items()))
    picked = None if len(positions) == len(parsed_series) else _picked(positions, left, interner)
    return packed(Layout(tuple(raw), views, interner.metadata({**metadata, **described}), told, picked), interner)


def present(layout: Layout, catalogue: Catalogue) -> frozenset[str]:
    """Return the canonical metrics with at least one series in the layout."""
    names = {series.name for series in layout.raw} | {view.series.name for view in layout.views}
    return frozenset(family for name in names if (family := catalogue.family(name)))


def missing(layout: Layout, catalogue: Catalogue, engine: str) -> tuple[str, ...]:
    """Return the canonical metrics of a default installation of `engine` that the layout lacks."""
    found = present(layout, catalogue)
    return tuple(name for name in catalogue.expected(engine) if name not in found)


def lack(layout: Layout, catalogue: Catalogue, engine: str) -> Lack:
    """Return what the layout lacks of a default installation of `engine`."""
    expected, lacks = catalogue.expected(engine), missing(layout, catalogue, engine)
    if not expected or len(lacks) < len(expected):
        return Lack(lacks, expected=expected)
    return Lack(lacks, instead({series.name for series in layout.raw}, catalogue, engine), expected)


def _picked(positions: Sequence[int], left: int, interner: Interner) -> Picked:
    # Targets that expose the same lines share the positions.
    packed_positions = np.array(positions, np.int32).tobytes()
    return Picked(np.frombuffer(interner.shared(packed_positions, len(packed_positions)), np.int32), left)


def _with_target_labels(scraped: Labels, stored: Mapping[str, str], *, honored: bool = False) -> dict[str, str]:
    """Return the stored labels of a sample. `honored` says that those of the page take precedence."""
    labels = {name: value for name, value in stored.items() if value}
    labels.update(zip(_stored_names(scraped, labels, honored), (value for _, value in scraped), strict=True))
    return labels


def _stored_names(scraped: Labels, taken: Mapping[str, str], honored: bool) -> list[str]:
    """Return the name under which each scraped label is stored beside the labels of the target."""
    if honored:
        return [name for name, _ in scraped]
    own = {name for name, _ in scraped}
    names: dict[str, None] = {}
    for name, _ in scraped:
        while name in taken or name in names:
            name = f"exported_{name}"
            if name in own:
                name = f"exported_{name}"
        names[name] = None
    return list(names)


def _left(parsed: Sequence[Series], target: Target) -> Iterator[tuple[int, Series, dict[str, str]]]:
    """Yield the position of each sample that no rule drops, its series for the catalogue, and its stored labels."""
    pairs = {**dict(target.labels), "job": target.job, "instance": target.instance}
    stored = {name: value for name, value in pairs.items() if value}
    for position, series in enumerate(parsed):
        labels = _with_target_labels(series.labels, stored, honored=target.honor_labels)
        if not target.metric_relabel:
            yield position, series, labels
        elif found := _relabelled(series, labels, target, stored):
            yield position, *found


def _relabelled(
    scraped: Series, labels: Mapping[str, str], target: Target, stored: Mapping[str, str]
) -> tuple[Series, dict[str, str]] | None:
    """Return a sample after the target's rules, and its stored labels. None: a rule drops it.

    The series is for the catalogue, which knows the names of the engine: without the labels of the target that the
    rules left alone, and without `exported_`.
    """
    found = relabelled({METRIC_NAME: scraped.name, **labels}, target.metric_relabel)
    if not found:
        return None
    name = found.pop(METRIC_NAME, "")
    if not name:
        raise Relabelled(
            f"metric_relabel_configs leave a sample of {scraped.name!r} without a name; keep its label {METRIC_NAME}"
        )
    names = _stored_names(scraped.labels, stored, target.honor_labels)
    scraped_names = dict(zip(names, (n for n, _ in scraped.labels), strict=True))
    made = {n: value for n, value in found.items() if n not in scraped_names and stored.get(n) != value}
    kept = {scraped_names[n]: value for n, value in found.items() if n in scraped_names}
    return Series(name, labels_of({**made, **kept})), found


def _unique(series: Series, taken: set[Series], interner: Interner) -> Series:
    # Two scraped series can become equal by renaming ({job="x"} and {exported_job="x"}). Every column needs its own
    # series, or the values of all later columns would shift by one.
    identity, number = series, 1
    while identity in taken:
        number += 1
        identity = Series(series.name, interner.labels({**dict(series.labels), "exported_duplicate": str(number)}))
    return identity


def _native_labels(stored: dict[str, str], scraped: Mapping[str, str], context: _Context) -> dict[str, str]:
    canonical = _standing_labels(dict(scraped), context)
    return {**canonical, **stored, **{n: canonical[n] for n in ("engine", *_FROM_TARGET) if n in canonical}}


def _standing_labels(labels: dict[str, str], context: _Context) -> dict[str, str]:
    """Add the labels of every canonical series: engine, instance, node, model, version, source."""
    target, configured = context.target, context.target_labels
    result = {**configured, **labels, "engine": target.engine, "instance": target.instance}
    result.setdefault("source", ENGINES[target.engine].source if target.engine in ENGINES else "engine")
    result.setdefault("node", _host(target.instance))
    served = result.get("served_model", "")
    model = context.models.get(served, served) or labels.get("model", "")
    if model:
        result["model"] = model
    result.update({name: configured[name] for name in _FROM_TARGET if name in configured})
    if instance := result.pop("gpu_instance", ""):
        result["gpu"] = f"{result.get('gpu', '')}/GI{instance}"
    return result


def _host(instance: str) -> str:
    """Return the host part of `host:port`, `[v6]:port` or a bare host."""
    host, _, port = instance.rpartition(":")
    return host.strip("[]") if host and port.isdigit() else instance.strip("[]")


def _views(parsed: Sequence[Series], taken: set[Series], context: _Context, catalogue: Catalogue) -> Iterator[View]:
    samples: dict[str, list[_Sample]] = {}
    for column, series in enumerate(parsed):
        name = context.engine.name_of(series.name)
        samples.setdefault(name, []).append(_Sample(column, dict(series.labels)))
    seen = set(taken)
    for name, sources in context.engine.sources.items():
        for source in sources:
            for view in _source_views(name, catalogue.metrics[name], source, samples, context):
                if view.series not in seen:
                    seen.add(view.series)
                    yield view


def _source_views(
    name: str, metric: Metric, source: CatalogueSource, samples: Mapping[str, list[_Sample]], context: _Context
) -> Iterator[View]:
    if source.sum:
        yield from _summed(name, source, samples, context)
        return
    whole_histogram = metric.type == "histogram" and source.part is None
    suffixes = SUFFIXES if whole_histogram else ("",)
    for origin in source.from_:
        if not any(origin + suffix in samples for suffix in suffixes):
            continue
        for suffix in suffixes:
            target_name = name + (suffix if whole_histogram else f"_{source.part}" if source.part else "")
            counts = suffix in ("_bucket", "_count") or source.part == "count"
            help_text = _help_of(origin, context.metadata)
            columns = _group(name, target_name, source, samples.get(origin + suffix, ()), context, help_text)
            for series, group in columns.items():
                yield View(series, context.interner.shared(tuple(group)), 1.0 if counts else source.factor)
        return


def _summed(
    name: str, source: CatalogueSource, samples: Mapping[str, list[_Sample]], context: _Context
) -> Iterator[View]:
    """Yield sums of samples of several names with equal labels. If one sample is missing, the sum is absent."""
    target_name = f"{name}_{source.part}" if source.part else name
    terms = [
        _group(name, target_name, source, samples.get(origin, ()), context, _help_of(origin, context.metadata))
        for origin in source.sum
    ]
    for series, first in terms[0].items():
        others = [term.get(series) for term in terms[1:]]
        if all(others):
            groups = [first, *(group for group in others if group)]
            columns = context.interner.shared(tuple(column for group in groups for column in group))
            yield View(series, columns, source.factor)


def _group(
    metric: str, name: str, source: CatalogueSource, samples: Sequence[_Sample], context: _Context, help_text: str
) -> dict[Series, list[int]]:
    """Return the columns of each canonical series. One column, or those that are added up."""
    of_board = metric in context.boards
    repeats = (*context.engine.repeats, *(context.engine.slices if of_board else ()))
    found: dict[Labels, list[_Sample]] = {}
    for sample in samples:
        if source.takes(sample.labels):
            labels = _own_labels(source, sample.labels, context.engine, help_text)
            if of_board:
                labels.pop("gpu_instance", None)
            if "le" in sample.labels:
                labels["le"] = _rescaled(sample.labels["le"], source.factor)
            found.setdefault(context.interner.labels(_standing_labels(labels, context)), []).append(sample)
    name = context.interner.shared(name)
    groups: dict[Series, list[int]] = {}
    for canonical, group in found.items():
        apart = _without_repeats(group, repeats) if len(group) > 1 else group
        if len(apart) == 1 or source.combine == "sum":
            groups[Series(name, canonical)] = [sample.column for sample in apart]
            continue
        telling = _telling(apart, repeats)
        context.unknown.setdefault(metric, set()).update(telling)
        for sample in apart:
            own = {raw: sample.labels[raw] for raw in telling if sample.labels.get(raw)}
            with_own = context.interner.labels(_with_target_labels(tuple(own.items()), dict(canonical)))
            groups.setdefault(Series(name, with_own), [sample.column])
    return groups


def _without_repeats(group: Sequence[_Sample], repeats: Sequence[str]) -> list[_Sample]:
    """Return the samples of a group without those that repeat another one's number: the first of each is taken."""
    first: dict[Labels, _Sample] = {}
    for sample in group:
        first.setdefault(tuple((k, v) for k, v in sample.labels.items() if k not in repeats), sample)
    return list(first.values())


def _telling(group: Sequence[_Sample], repeats: Sequence[str]) -> list[str]:
    """Return the raw labels by which the samples of a group differ."""
    names = dict.fromkeys(name for sample in group for name in sample.labels if name not in repeats)
    return [name for name in names if len({sample.labels.get(name) for sample in group}) > 1]


def _help_of(origin: str, metadata: Mapping[str, Metadata]) -> str:
    """Return the HELP text of a sample's family."""
    found = metadata.get(origin) or metadata.get(origin.removesuffix("_total"))
    return found.help if found else ""


def _own_labels(source: CatalogueSource, scraped: Mapping[str, str], engine: Engine, help_text: str) -> dict[str, str]:
    labels = dict(source.set)
    for name, values in source.by_help.items():
        words = (value for word, value in values.items() if word != "*" and word in help_text)
        labels[name] = next(words, values["*"])
    named = {raw: value for raw, value in scraped.items() if raw not in engine.guests or not _GUEST.fullmatch(value)}
    for label_map in (engine.labels, source.labels):
        _rename(labels, label_map, named)
    for value_map in (engine.values, source.values):
        _translate(labels, value_map)
    return labels


def _rename(labels: dict[str, str], label_map: LabelMap, scraped: Mapping[str, str]) -> None:
    for raw_name, canonical_names in label_map.items():
        if value := scraped.get(raw_name):
            labels.update(dict.fromkeys(canonical_names, value))


def _translate(labels: dict[str, str], value_map: ValueMap) -> None:
    for name, values in value_map.items():
        if name in labels:
            value = labels[name]
            labels[name] = values.get(value, values.get("*", "{}")).replace("{}", value)


def _rescaled(le: str, factor: float) -> str:
    """Return a rescaled bucket bound, rounded to 12 digits: 300 ms -> 0.3 s and not 0.30000000000000004."""
    try:
        return normalised_float(f"{float(le) * factor:.12g}") if factor != 1.0 else le
    except ValueError:  # not a number, so not a bucket bound: unchanged
        return le
