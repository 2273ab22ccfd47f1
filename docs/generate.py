"""Write the generated parts of docs/reference: `python docs/generate.py`. A test compares the pages with its output."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from ruamel.yaml import YAML

from alerts.packs import BUILTIN, EXAMPLE, Variable, load_pack, pack_variables
from alerts.rules import AlertingRule, RecordingRule
from collectors.catalogue.mapping import canonical_layout, present
from collectors.catalogue.model import Catalogue, CatalogueSource, Engine, load_catalogue
from collectors.durations import format_duration
from collectors.exposition.parser import parse
from collectors.gpu.exporters import repaired
from collectors.target import Target

REFERENCE = Path(__file__).parent / "reference"
FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
CAPTURES: Mapping[str, tuple[str, ...]] = {
    "triton": ("triton-2.51-llm.prom", "captures/triton-2.51-cache-seq-stream.prom"),
    "vllm": ("vllm-0.32-llm.prom", "captures/vllm-0.32-cpu.prom"),
    "sglang": ("captures/sglang-0.5.23-cpu.prom",),
    "llamacpp": ("captures/llamacpp-b10434.prom", "captures/llamacpp-b10434-router.prom"),
    "ray": ("captures/ray-serve-2.60.prom",),
    "kserve": ("captures/kserve-0.21.prom",),
    "litellm": ("captures/litellm-1.108.prom",),
    "sglang-router": ("captures/sglang-router-0.3.2.prom",),
    "vllm-router": ("captures/vllm-router-0.1.17.prom",),
    "nvml": ("nvml-h200-idle.prom", "nvml-h200-busy.prom"),
}
"""Expositions that real servers printed, by kind of engine."""
OURS = ("probe", "logs", "gateway", "readiness", "controlplane")
"""Sources whose numbers the control plane makes itself."""
SHOWN, WRITTEN = "●", "○"
"""Marks of a cell: seen at a real server, and mapped from documentation."""
RUNBOOKS = "../runbooks"
"""Path of the runbooks from the reference pages."""
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)


def rendered(page: str) -> str:
    """Return a page's text with every generated part written again. Raises KeyError for a part without a generator."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", page)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; pipes inside cells are escaped."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def prose(text: str) -> str:
    """Return plain text escaped for Markdown: `<` would begin a tag."""
    return text.strip().replace("<", "&lt;")


def canonical_metrics() -> str:
    """Return a table of every canonical metric with type, unit, own labels, meaning and OpenTelemetry name."""
    header = ["metric", "type", "unit", "own labels", "meaning", "OpenTelemetry"]
    return table(
        header,
        (
            [f"`{name}`", m.type, m.unit, _codes(m.labels), prose(m.help), f"`{m.semconv}`" if m.semconv else ""]
            for name, m in load_catalogue().metrics.items()
        ),
    )


def engine_sources() -> str:
    """Return, for each engine, a table of the canonical metrics and their raw metrics."""
    catalogue = load_catalogue()
    return "\n".join(_engine(name, engine, catalogue) for name, engine in catalogue.engines.items())


def engine_matrix() -> str:
    """Return two tables of engines and canonical metrics: which cells a real server has shown."""
    found = []
    for prefix in ("llm_", "gpu_"):
        header, *rows = _matrix_of(prefix)
        found.append(table(header, rows))
    return "\n".join(found)


def _shown(engine: str, catalogue: Catalogue) -> frozenset[str]:
    """Return the canonical metrics that captures of an engine have."""
    found: frozenset[str] = frozenset()
    for name in CAPTURES.get(engine, ()):
        parsed = parse(repaired((FIXTURES / name).read_bytes()))
        target = Target(engine, "http://127.0.0.1:1/metrics", engine, "127.0.0.1:1")
        found |= present(canonical_layout(parsed.series, parsed.metadata, target, catalogue), catalogue)
    return found


def _cells() -> Mapping[str, Mapping[str, str]]:
    """Return the mark of each engine's canonical metrics, by engine and metric."""
    catalogue = load_catalogue()
    marks = {}
    for name, engine in catalogue.engines.items():
        if name not in OURS:
            seen, mapped = _shown(name, catalogue), {*engine.sources, *engine.native}
            marks[name] = {m: SHOWN if m in seen else WRITTEN for m in catalogue.metrics if m in seen or m in mapped}
    return marks


def _matrix_of(prefix: str) -> Iterable[list[str]]:
    """Yield the header and the rows of the matrix of metrics with a prefix. Engines without any are left out."""
    found = _cells()
    engines = [name for name, marks in found.items() if any(metric.startswith(prefix) for metric in marks)]
    yield ["canonical metric", *engines]
    for metric in load_catalogue().metrics:
        if metric.startswith(prefix) and any(metric in found[name] for name in engines):
            yield [f"`{metric}`", *(found[name].get(metric, "") for name in engines)]


def _engine(name: str, engine: Engine, catalogue: Catalogue) -> str:
    rows = []
    for metric in catalogue.metrics:
        origins = [prose(engine.native[metric])] if metric in engine.native else []
        origins += [_origin(source) for source in engine.sources.get(metric, ())]
        if origins:
            rows.append([f"`{metric}`", "yes" if metric in engine.expected else "", "<br>".join(origins)])
    renamed = [f"`{raw}` → {_codes(to)}" for raw, to in engine.labels.items()]
    lines = [f"### {name}\n", *([prose(engine.note) + "\n"] if engine.note else [])]
    lines += [f"Labels: {', '.join(renamed)}.\n"] if renamed else []
    lines += [f"Labels by which it repeats a number: {_codes(engine.repeats)}.\n"] if engine.repeats else []
    if engine.slices:
        lines.append(f"Labels of MIG instances, left out of a whole GPU's metrics: {_codes(engine.slices)}.\n")
    if engine.guests:
        lines.append(f"Not used where they name the exporter's pod or container: {_codes(engine.guests)}.\n")
    for prefix, others in engine.prefixes.items():
        named = " or ".join(f"`{other}`" if other else "none" for other in others)
        lines += [f"Instead of the prefix `{prefix}` names may have {named}.\n"]
    if not rows:
        return "\n".join([*lines, "No canonical metric.\n"])
    return "\n".join([*lines, table(["canonical metric", "expected", "made of"], rows)])


def _origin(source: CatalogueSource) -> str:
    text = ", else ".join(f"`{raw}`" for raw in source.from_) or " + ".join(f"`{raw}`" for raw in source.sum)
    details = [f"as `_{source.part}`"] if source.part else []
    details += [f"× {source.factor:.12g}"] if source.factor != 1.0 else []
    details += [f"where `{raw}` is {_codes(values)}" for raw, values in source.where.items()]
    left_out = [f"`{raw}` is {_codes(values)}" for raw, values in source.unless.items()]
    details += [f"unless {' and '.join(left_out)}"] if left_out else []
    details += [f'`{label}="{value}"`' for label, value in source.set.items()]
    for label, values in source.by_help.items():
        told = ", ".join(f"{value} if its HELP says {_raw(word)}" for word, value in values.items() if word != "*")
        details += [f"`{label}` is {told}, else {values['*']}"]
    details += [f"`{raw}` → {_codes(to)}" for raw, to in source.labels.items()]
    for label, values in source.values.items():
        details += [f"`{label}` is " + ", ".join(f"{new} for {_raw(old)}" for old, new in values.items())]
    details += ["added up over other labels"] if source.combine == "sum" else []
    return text + (f" ({'; '.join(details)})" if details else "")


def _raw(value: str) -> str:
    return "anything else" if value == "*" else f"`{value}`"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def own_metrics() -> str:
    """Return the rows of the HTTP API's page, which is tested against the code."""
    page = (REFERENCE / "http-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`(?:controlplane|process)_\w+`) \| (\w+) \| (.+) \|$", page, re.MULTILINE)
    return table(["metric", "type", "meaning"], rows)


def rule_packs() -> str:
    """Return every built-in pack: its variables, and its rules with their defaults filled in."""
    return "\n".join(_pack(name) for name in BUILTIN)


def _pack(name: str) -> str:
    variables = pack_variables(name)
    defaults = {f"{v.name}.{field}": text for v in variables for field, text in _defaults(v).items()}
    used = _uses(name)
    fields = ("value", "for", "window")
    rows = ([f"`{v.name}`", *(defaults.get(f"{v.name}.{f}", "") for f in fields), v.unit, v.help] for v in variables)
    lines = [f"## builtin:{name}\n", table(["variable", "value", "for", "window", "unit", "meaning"], rows)]
    for group in load_pack(name, options=replace(EXAMPLE, runbooks=RUNBOOKS)):
        lines.append(f"### Group {group.name}\n")
        lines += [
            _rule(rule, {name: defaults[name] for name in used[rule.name] if name in defaults}) for rule in group.rules
        ]
    return "\n".join(lines)


def _rule(rule: AlertingRule | RecordingRule, tunables: Mapping[str, str]) -> str:
    lines = [f"#### {rule.name}\n"]
    if isinstance(rule, AlertingRule):
        texts = {name: template.text for name, template in (*rule.labels, *rule.annotations)}
        held = f"for {format_duration(rule.for_s)}" if rule.for_s else "at once"
        lines.append(f"{texts['severity']}, {held}; [runbook]({texts['runbook_url']})\n")
        lines.append(f"> {texts['summary']}\n")
    else:
        lines.append("recorded\n")
    if tunables:
        lines.append(f"Tuned by {', '.join(f'`{name}` ({default})' for name, default in tunables.items())}.\n")
    return "\n".join([*lines, "```promql", rule.expr.strip(), "```\n"])


def _defaults(variable: Variable) -> dict[str, str]:
    found = {}
    if variable.value is not None:
        seconds = variable.unit == "seconds"
        found["value"] = format_duration(variable.value) if seconds else f"{variable.value:.12g}"
    if variable.for_s is not None:
        found["for"] = format_duration(variable.for_s)
    if variable.window_s is not None:
        found["window"] = format_duration(variable.window_s)
    return found


def _uses(pack: str) -> Mapping[str, list[str]]:
    """Return the variables that each rule names as `variable.field`, in order of appearance."""
    text = (resources.files("alerts") / "packs" / f"{pack}.yaml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for group in YAML(typ="safe").load(text)["groups"]:
        for rule in group["rules"]:
            names = re.findall(r"\$\{(\w+)\.(\w+)\}", str(rule))
            fields = {"duration": "value", "window_s": "window"}  # other ways to write the same field
            unique = dict.fromkeys(f"{name}.{fields.get(field, field)}" for name, field in names)
            found[rule.get("alert") or rule["record"]] = list(unique)
    return found


PARTS: Mapping[str, Callable[[], str]] = {
    "canonical-metrics": canonical_metrics,
    "engine-matrix": engine_matrix,
    "engine-sources": engine_sources,
    "own-metrics": own_metrics,
    "rule-packs": rule_packs,
}


def main() -> None:
    """Rewrite the pages in place and name those that changed."""
    for path in sorted(REFERENCE.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
