"""Exports the catalogue as Prometheus recording rules, for servers that scrape the engines themselves.

Each rule maps stored series as collectors.catalogue.mapping maps scraped ones:

    selector [without blanks] -> or on (job, instance): the first of several names that the target has
      -> label_replace / label_join: the canonical labels -> max by / sum by (canonical labels): drops other labels
      -> * factor -> or: all sources apply, the earlier one wins

      A mapping that PromQL cannot express is not approximated: it is returned beside the rules, with the reason.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from collectors.catalogue.model import GUEST, SUFFIXES, Catalogue, CatalogueSource, Engine, Metric, Selector

STANDING = ("instance", "node", "model", "version", "served_model", "source")
"""Labels of every canonical series, beside `engine`, which the rule sets."""
KEPT = ("simulated",)
"""Labels of targets that are always kept: the packs' rules group by them."""
_CONFIGURED = ("model", "version", "node", "source")
"""Labels for which the target's configuration takes precedence over the engine."""
_COLLIDING = ("model", "version", "engine")
"""Labels of engines that targets often have too. The engine's label is then stored as `exported_…`."""
_HOST = r"\[?(.*?)\]?(?::[0-9]+)?"
_FIRST = "[;]*([^;]+).*"
"""Pattern of the first non-empty value among several joined by `;`."""
_DCGM_BLANKS = (140737488355328, 140737488355329, 140737488355330, 140737488355331)
"""DCGM's blank values of a double. Those of an integer are beyond _DCGM_BOUND (see collectors.gpu.exporters)."""
_DCGM_BOUND = "9.22337203685477e+18"
_INDENT = " " * 10


class Unexpressed(NamedTuple):
    """A part of the catalogue that recording rules cannot express, or express differently."""

    what: str
    reason: str


class RecordingRules(NamedTuple):
    """A Prometheus rule file, and the parts of the catalogue that it lacks."""

    text: str
    rules: int
    unexpressed: tuple[Unexpressed, ...]


class _Rule(NamedTuple):
    record: str
    expr: str
    engine: str


def recording_rules(
    catalogue: Catalogue, jobs: Mapping[str, str] | None = None, labels: Sequence[str] = ()
) -> RecordingRules:
    """Return the rules that record the canonical series of scraped engines.

    `jobs` maps an engine to the regular expression of its scrape jobs; by default the job has the engine's name.
    `labels` are the labels of targets that canonical series keep.
    """
    kinds = [name for name in catalogue.engines if name not in _UNSCRAPED]
    reports = [_Rule("target_up", f"up{{{_of_job(name, jobs)}}}", name) for name in kinds]
    groups = [_group("targets", reports)] if reports else []
    count = len(reports)
    told = [_LARGEST, _NAMES, _BOUNDS, _TARGET_LABELS]
    for name, engine in catalogue.engines.items():
        if engine.native:
            told.append(Unexpressed(f"{name}: {', '.join(engine.native)}", _NATIVE.get(name, "not an engine's")))
        for prefix, others in engine.prefixes.items():
            named = " or ".join(f"{other}…" if other else "no prefix" for other in others)
            told.append(Unexpressed(f"{name}: names with {named} instead of {prefix}", "they are not read"))
        rules = list(_engine_rules(name, engine, catalogue, _of_job(name, jobs), labels, told))
        if rules:
            count += len(rules)
            groups.append(_group(f"canonical-{name}", rules))
    head = [_HEAD, *(_comment(f"{what}: {reason}") for what, reason in told)]
    return RecordingRules("\n".join([*head, "groups:", *groups]) + "\n", count, tuple(told))


def _comment(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="#   - ", subsequent_indent="#     ", break_on_hyphens=False)


_HEAD = """\
# Canonical metrics of LLM fleets as Prometheus recording rules: made by `controlplane catalogue export`.
#
# For servers that scrape the engines themselves. Scrape jobs are named after their engine (job "vllm", "triton",
# "dcgm", …; change this with --job ENGINE=REGEX). Set the labels model, version and node on targets whose engine does
# not export them. Other labels of targets are kept only if --label names them.
#
# Not expressed, or expressed differently:"""
_LARGEST = Unexpressed(
    "series that differ in labels without a canonical name",
    "the rules keep the largest; the control plane keeps each with these labels, or the first of those that repeat it",
)
_NAMES = Unexpressed(
    "names that fleet.yaml gives to models (traffic.model)",
    "model is the target's label, or else the engine's name; fleet.yaml is not read",
)
_BOUNDS = Unexpressed(
    "bucket bounds written with an exponent, or as a whole number of seven digits and more",
    "they stay as the engine wrote them",
)
_TARGET_LABELS = Unexpressed(
    "a target's label with the name of an engine's label, on samples without the engine's label",
    "it is used as the engine's: of these names, give targets only model, version and node",
)
_CLOUDS = ("bedrock", "sagemaker", "azure-openai", "vertex")
_UNSCRAPED = ("probe", "readiness", "ollama", "fastchat", "mii", "openai", "anthropic", *_CLOUDS, "controlplane")
"""Kinds of targets that only the control plane reads. It has, and sends, their `target_up`."""
_NATIVE = {
    "nvml": "nvml-exporter's samples have these names already; add the labels engine and source by scrape_configs",
    "logs": "log-exporter's samples have these names already; add the labels engine and source by scrape_configs",
    "probe": "only the control plane probes models; it can send the results: metrics.remote_write with send: [own]",
    "gateway": "a gateway's samples have these names already; add the label engine by scrape_configs",
    "readiness": "only the control plane asks engines; it can send the results: metrics.remote_write with send: [own]",
    "ollama": "only the control plane reads its API; it can send the results: metrics.remote_write with send: [own]",
    "openai": "only the control plane reads it; it can send the results: metrics.remote_write with send: [own]",
    "anthropic": "only the control plane reads it; it can send the results: metrics.remote_write with send: [own]",
    **dict.fromkeys(
        _CLOUDS, "only the control plane reads it; it can send the results: metrics.remote_write with send: [own]"
    ),
    "mii": "only the control plane reads its API; it can send the results: metrics.remote_write with send: [own]",
    "llamacpp": "only the control plane asks for it; it can send the results: metrics.remote_write with send: [own]",
    "controlplane": "only the control plane has them; it can send them: metrics.remote_write with send: [own]",
}


def _engine_rules(
    name: str,
    engine: Engine,
    catalogue: Catalogue,
    matcher: str,
    labels: Sequence[str],
    told: list[Unexpressed],
) -> Iterator[_Rule]:
    for metric_name, sources in engine.sources.items():
        metric = catalogue.metrics[metric_name]
        found: dict[str, list[str]] = {}
        for source in sources:
            if reason := _inexpressible(engine, source, metric):
                told.append(Unexpressed(f"{name}: {metric_name}", reason))
                continue
            for label, values in source.by_help.items():
                why = f"the rules do not see HELP texts: {label} is always {values['*']}"
                told.append(Unexpressed(f"{name}: {metric_name}", why))
            kept = [*STANDING, *_own_names(engine, metric, source), *KEPT, *labels]
            terms = _Terms(name, engine, metric, source, matcher, tuple(dict.fromkeys(kept)))
            for suffix in _parts(metric, source):
                found.setdefault(metric_name + suffix, []).append(terms.expression(suffix))
        for record, terms_of in found.items():
            yield _Rule(record, f"\n{_INDENT}or\n{_INDENT}".join(terms_of), name)


def _of_job(engine: str, jobs: Mapping[str, str] | None) -> str:
    """Return the matcher of an engine's scrape jobs."""
    job = (jobs or {}).get(engine)
    return f"job={_quoted(engine)}" if job is None else f"job=~{_quoted(job)}"


def _inexpressible(engine: Engine, source: CatalogueSource, metric: Metric) -> str:
    if metric.type == "histogram" and not source.part and source.factor != 1 and _decimal_shift(source.factor) is None:
        return f"bucket bounds × {source.factor:.12g}: PromQL cannot compute with labels, only shift a decimal point"
    if set(engine.values) & set(source.values):
        return f"{min(set(engine.values) & set(source.values))} is translated twice"
    return ""


def _decimal_shift(factor: float) -> int | None:
    """Return n for a factor of 1e-n (n from 1 to 9), which moves the decimal point n digits; else None."""
    return next((n for n in range(1, 10) if factor == float(f"1e-{n}")), None)


def _parts(metric: Metric, source: CatalogueSource) -> tuple[str, ...]:
    if metric.type == "histogram" and source.part is None:
        return SUFFIXES
    return (f"_{source.part}",) if source.part else ("",)


def _own_names(engine: Engine, metric: Metric, source: CatalogueSource) -> list[str]:
    """Return the labels of this source's series, beside STANDING."""
    fixed = (*source.set, *source.by_help)
    maps = (*_label_maps(engine, metric).values(), *source.labels.values(), fixed)
    return [name for names in maps for name in names if name not in STANDING and name != "gpu_instance"]


def _label_maps(engine: Engine, metric: Metric) -> Mapping[str, tuple[str, ...]]:
    """Return the part of the engine's label map that fits the metric: a GPU's metrics have no model and no rank."""
    of_gpu = ("gpu", "node") if metric.board else ("gpu", "gpu_instance", "node")
    if "gpu" not in metric.labels:
        return engine.labels
    return {raw: kept for raw, tos in engine.labels.items() if (kept := tuple(t for t in tos if t in of_gpu))}


class _Terms:
    """Writes the PromQL expressions of one source."""

    def __init__(
        self, name: str, engine: Engine, metric: Metric, source: CatalogueSource, matcher: str, kept: tuple[str, ...]
    ) -> None:
        self._name, self._engine, self._metric, self._source = name, engine, metric, source
        self._matcher, self._kept = matcher, kept

    def expression(self, suffix: str) -> str:
        """Return the expression of one part of the metric: `_bucket`, `_sum`, `_count`, or "" for the whole."""
        source = self._source
        whole = self._metric.type == "histogram" and source.part is None
        raw_suffix = suffix if whole else ""
        steps = self._labels(bucket=suffix == "_bucket" and whole)
        by = (*self._kept, "le") if suffix == "_bucket" else self._kept
        if source.sum:
            terms = [self._aggregated(self._selected(origin), steps, by) for origin in source.sum]
            term = f"\n{_INDENT}+\n{_INDENT}".join(terms)
            term = f"({term})" if source.factor != 1 else term
        else:
            names = [self._selected(origin + raw_suffix) for origin in source.from_]
            term = self._aggregated(" or on (job, instance) ".join(names), steps, by)
        counts = suffix in ("_bucket", "_count")
        return term if counts or source.factor == 1 else f"{term} * {source.factor:.12g}"

    def _selected(self, raw: str) -> str:
        selector = self._chosen_of(raw, self._source.where)
        if self._source.unless:
            selector += f" unless {self._chosen_of(raw, self._source.unless)}"
        if self._name != "dcgm":
            repeats = self._engine.repeats if self._source.combine == "sum" else ()
            return f"max without ({', '.join(repeats)}) ({selector})" if repeats else selector
        return f"({selector} < {_DCGM_BOUND}" + "".join(f" != {blank}" for blank in _DCGM_BLANKS) + ")"

    def _chosen_of(self, raw: str, selector: Selector) -> str:
        chosen = (_chosen(label, values) for label, values in selector.items())
        return f"{raw}{{{', '.join((self._matcher, *chosen))}}}"

    def _aggregated(self, selected: str, steps: Sequence[str], by: Sequence[str]) -> str:
        operator = "sum" if self._source.combine == "sum" else "max"
        calls = "".join(f"{step.partition('(')[0]}(" for step in reversed(steps))
        arguments = "".join(f",\n{_INDENT}  {step.partition('(')[2]}" for step in steps)
        return f"{operator} by ({', '.join(by)}) ({calls}\n{_INDENT}  {selected}{arguments})"

    def _labels(self, *, bucket: bool) -> list[str]:
        """Return the steps from stored labels to canonical ones: calls without their first argument."""
        source, metric = self._source, self._metric
        steps = [_replace(raw, "", raw, GUEST) for raw in self._engine.guests]
        values = {**self._engine.values, **source.values}
        produced: dict[str, list[str]] = {}
        for label_map in (_label_maps(self._engine, metric), source.labels):
            for raw, targets in label_map.items():
                for to in targets:
                    produced.setdefault(to, []).insert(0, raw)  # if an engine has both, the later one wins
        for to in sorted(produced, key=lambda to: to in _CONFIGURED):
            steps += _mapped(to, produced[to], values.get(to, {}), source.set.get(to, ""))
        fixed = {**source.set, **{to: of_help["*"] for to, of_help in source.by_help.items()}}
        steps += [_constant(to, value) for to, value in fixed.items() if to not in produced]
        if "gpu_instance" in produced:
            steps += [_join("__gpu", "/GI", "gpu", "gpu_instance"), _replace("gpu", "$1", "__gpu", "(.+/GI.+)")]
        if "served_model" in produced:
            steps += _first_of("model", "model", "served_model")
        steps += [_replace("__host", "$1", "instance", _HOST), *_first_of("node", "node", "__host")]
        steps.append(_replace("source", "engine", "source", ""))
        steps += _bounds(source.factor) if bucket else []
        if "quantile" in metric.labels:
            steps.append(_replace("quantile", "$1.0", "quantile", "([0-9]{1,6})"))
        return steps


def _mapped(to: str, raws: Sequence[str], values: Mapping[str, str], default: str) -> list[str]:
    """Return the steps that set `to` to the first non-empty value of an engine's labels, translated, or `default`."""
    if to in _CONFIGURED and to in raws:
        # The engine's label is stored as `to`, or as `exported_<to>` when the target has the label too.
        return _translated(to, _join("__raw", ";", f"exported_{to}", to), ";", values)
    stored = [name for raw in raws for name in ((f"exported_{raw}", raw) if raw in _COLLIDING else (raw,))]
    if to in _CONFIGURED:
        return _first_of(to, to, *stored)
    if len(stored) == 1 and not values:
        return [_replace(to, "$1", stored[0], "(.*)")]
    if not values:
        return _first_of(to, *stored, clear=True)
    return [_constant(to, default), *_translated(to, _join("__raw", ";", *stored), "[;]*", values)]


def _translated(to: str, join: str, before: str, values: Mapping[str, str]) -> list[str]:
    """Return the steps that translate the joined value: first the default, then each value with its own entry."""
    default = values.get("*", "{}")
    steps = [join, _replace(to, _filled(default), "__raw", f"{before}([^;]+).*")]
    for raw, value in values.items():
        if raw != "*":
            steps.append(_replace(to, _filled(value), "__raw", f"{before}({re.escape(raw)})(?:;.*)?"))
    return steps


def _filled(value: str) -> str:
    return value.replace("$", "$$").replace("{}", "${1}")


def _first_of(to: str, *names: str, clear: bool = False) -> list[str]:
    """Return the steps that set `to` to the first non-empty label of `names`; `clear` removes `to` if there is none."""
    steps = [_join("__any", ";", *names), _replace(to, "$1", "__any", _FIRST)]
    return [steps[0], _constant(to, ""), steps[1]] if clear else steps


def _bounds(factor: float) -> list[str]:
    """Return the steps that move the decimal point of `le`, and write whole bounds as Prometheus 3 does."""
    steps = []
    if shift := _decimal_shift(factor):
        steps = [
            _replace("le", "0" * shift + "$1", "le", r"([0-9.]+)"),
            _replace("le", "$1.$2$3", "le", rf"([0-9]+)([0-9]{{{shift}}})(?:\.([0-9]+))?"),
            _replace("le", "$1", "le", r"0*([0-9]+\.[0-9]+)"),
            _replace("le", "$1", "le", r"([0-9]+\.[0-9]+?)0*"),
        ]
    return [*steps, _replace("le", "$1.0", "le", "([0-9]{1,6})")]


def _replace(to: str, value: str, of: str, pattern: str) -> str:
    return f"label_replace({_quoted(to)}, {_quoted(value)}, {_quoted(of)}, {_quoted(pattern)})"


def _join(to: str, separator: str, *names: str) -> str:
    return f"label_join({', '.join(_quoted(text) for text in (to, separator, *names))})"


def _constant(to: str, value: str) -> str:
    return _replace(to, value.replace("$", "$$"), "", "")


def _chosen(label: str, values: Sequence[str]) -> str:
    """Return the matcher of a label with one of these values."""
    if len(values) == 1:
        return f"{label}={_quoted(values[0])}"
    return f"{label}=~{_quoted('|'.join(map(re.escape, values)))}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _group(name: str, rules: Sequence[_Rule]) -> str:
    lines = [f"  - name: {name}", "    rules:"]
    for rule in rules:
        lines += [f"      - record: {rule.record}", f"        labels: {{engine: {rule.engine}}}", "        expr: |"]
        lines.append(f"{_INDENT}{rule.expr}")
    return "\n".join(lines)
