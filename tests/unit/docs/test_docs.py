"""The documentation says what is there, and nothing else."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from alerts.packs import BUILTIN, EXAMPLE, load_pack, pack_variables
from alerts.rules import AlertingRule
from collectors.catalogue.model import load_catalogue
from collectors.durations import format_duration
from controlplane.app.check import inspect_file
from controlplane.cli.verbs.tree import GROUPS, VERBS
from controlplane.config.durations import duration_seconds
from controlplane.config.model import Fleet
from controlplane.demo.faults import DemoFault
from tests.fakes.fleet_text import parse_fleet

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
SKIPPED = {".venv", ".git", "node_modules", "dist", "build", "out"}
"""Folders of the checkout that are not the repository's."""


def pages() -> list[Path]:
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


# --- fleet.yaml


class Documented(typing.NamedTuple):
    kind: str
    default: str
    meaning: str


def documented_fields() -> dict[str, Documented]:
    """Return the rows of fleet-yaml.md by dotted path; each path has one row."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| (.+) \|$", read("fleet-yaml.md"), re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows)
    return {path: Documented(kind, default.strip("`"), meaning) for path, kind, default, meaning in rows}


def actual_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted path, field) of the whole file. A model that is used twice is walked once."""
    walked: set[type[BaseModel]] = {Fleet}
    told: set[str] = set()
    waiting: list[tuple[str, type[BaseModel]]] = [("", Fleet)]
    while waiting:
        prefix, model = waiting.pop(0)
        for name, field in model.model_fields.items():
            path = f"{prefix}{field.alias or name}"
            if path not in told:  # kinds of one section share fields
                yield path, field
            told.add(path)
            for inner, suffix in inner_models(field.annotation):
                if inner not in walked:
                    walked.add(inner)
                    waiting.append((f"{path}{suffix}.", inner))


def inner_models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models inside an annotation, and how a path goes through it: `[]` for lists, `.<name>` for maps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    suffix = {tuple: "[]", dict: ".<name>"}.get(typing.get_origin(annotation), "")
    for argument in typing.get_args(annotation):
        yield from ((found, suffix + inner) for found, inner in inner_models(argument))


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    assert value is not PydanticUndefined
    if any(getattr(m, "func", None) is duration_seconds for m in field.metadata) and value is not None:
        return f"{value:g} seconds"
    match value:
        case None:
            return "none"
        case BaseModel():
            return "{}"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}" if value < 1000 else str(value)
        case tuple():
            return f"[{', '.join(value)}]"
        case _:
            return str(value)


def test_every_field_of_fleet_yaml_is_documented_with_its_default() -> None:
    documented = {}
    for path, row in documented_fields().items():
        is_duration = row.kind == "duration" and row.default not in ("none", "required")
        documented[path] = f"{duration_seconds(row.default):g} seconds" if is_duration else row.default
    assert documented == {path: default_of(field) for path, field in actual_fields()}


def test_every_choice_of_a_field_is_named() -> None:
    rows = documented_fields()
    for path, field in actual_fields():
        for choice in choices(field.annotation):
            assert f"`{choice}`" in rows[path].meaning, f"{path}: {choice}"


def choices(annotation: Any) -> Iterator[str]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    else:
        for argument in typing.get_args(annotation):
            yield from choices(argument)


def test_the_examples_of_the_page_are_a_fleet_yaml_together(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", read("fleet-yaml.md"), re.DOTALL)
    assert len(blocks) == 18
    fleet = parse_fleet("".join(blocks), tmp_path / "fleet.yaml")
    assert {m.name for m in fleet.models} == {"model", "chat"}


def test_the_annotated_example_is_good_as_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    report = inspect_file(Path("examples/fleet.yaml"))
    sentences = [*map(str, report.findings), report.verdict]
    expected = ["notifiers[0].token_env", "slack.app_token_env", "backup.key_file", "backup.jobs[0].folder"]
    assert [finding.fault.field for finding in report.findings] == expected
    assert "$ cp check examples/fleet.yaml\n" + "\n".join(sentences) + "\n```" in read("fleet-yaml.md")


def test_the_check_of_an_own_fleet_says_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "guide" / "own-fleet.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(fleet:.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(block)
    Path("targets").mkdir()
    Path("targets", "a.json").write_text('[{"targets": ["10.0.0.7:8000", "10.0.0.8:8000"]}]')
    report = inspect_file(Path("fleet.yaml"))
    told = "\n".join([*map(str, report.findings), report.verdict])
    assert f"$ controlplane check fleet.yaml\n{told}\n$" in page


def test_the_guide_counts_the_built_in_rules_as_a_check_does(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("fleet: {name: x}\n")
    (rules,) = re.findall(r"\d+ rules", inspect_file(tmp_path / "fleet.yaml").verdict)
    assert f"0 models, {rules}" in (ROOT / "docs" / "guide" / "discovery.md").read_text(encoding="utf-8")


GUIDE_FLEETS = [
    (page.name, block)
    for page in sorted((ROOT / "docs" / "guide").glob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if re.match(r"(fleet|models|notifiers|thresholds|rules): ?", block)
]


@pytest.mark.parametrize(("page", "block"), GUIDE_FLEETS)
def test_the_guides_snippets_are_good(page: str, block: str, tmp_path: Path) -> None:
    fleet = parse_fleet(block if block.startswith("fleet:") else "fleet: {name: x}\n" + block, tmp_path / page)
    assert len(fleet.model_fields_set) > 1


def test_there_are_snippets_in_the_guide() -> None:
    assert len(GUIDE_FLEETS) >= 4


def test_every_section_is_in_the_annotated_example() -> None:
    data = YAML(typ="safe").load((ROOT / "examples" / "fleet.yaml").read_text(encoding="utf-8"))
    left_out = {"evaluation_interval", "database", "trusted_proxies"}
    assert set(data) == set(Fleet.model_fields) - left_out


# --- command line


def verb_sections() -> dict[str, str]:
    text = read("cli.md")
    heads = list(re.finditer(r"^### `([^`]+)`$", text, re.MULTILINE))
    ends = [m.start() for m in re.finditer(r"^##+ ", text, re.MULTILINE)] + [len(text)]
    return {m[1]: text[m.end() : min(e for e in ends if e > m.start())] for m in heads}


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_verb_is_documented() -> None:
    assert set(verb_sections()) == set(VERBS)


def test_the_verbs_are_in_the_groups_and_the_order_of_the_help() -> None:
    parts = re.split(r"^## ", read("cli.md"), flags=re.MULTILINE)
    listed = {p.splitlines()[0]: re.findall(r"^### `([^`]+)`$", p, re.MULTILINE) for p in parts}
    assert {title: verbs for title, verbs in listed.items() if verbs} == {
        group.title: [verb.words for verb in group.verbs] for group in GROUPS
    }


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_options_of_a_verb_are_documented_with_their_defaults(verb: str) -> None:
    section, declared = verb_sections()[verb], VERBS[verb].options
    shared = {name for line in re.findall(r"Shared: (.+)\.$", section, re.MULTILINE) for name in codes(line)}
    rows = re.findall(r"^\| (`-[^|]+) \| ([^|]*?) ?\| .+ \|$", section, re.MULTILINE)
    table = {name: default.strip("`") for cell, default in rows for name in codes(cell)}
    assert shared | set(table) == {name for option in declared for name in option.spellings}
    expected = {name: "required" if o.required else str(o.default or "") for o in declared for name in o.spellings}
    assert table == {name: expected[name] for name in table}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_operands_of_a_verb_are_in_its_usage(verb: str) -> None:
    usage = re.search(r"^    cp (.+)$", verb_sections()[verb], re.MULTILINE)
    assert usage
    options = re.compile(r" (?:-c fleet\.yaml|--[a-z]+ [A-Z]+)")
    assert options.sub("", usage[1]) == options.sub("", VERBS[verb].usage.replace("-c FILE", "-c fleet.yaml"))


def test_every_environment_variable_is_documented() -> None:
    rows = set(re.findall(r"^\| `([A-Z_]+)` \|", read("cli.md"), re.MULTILINE))
    inner = {"NVML_NODE", "PATH"}  # between a process and its own child
    named = set()
    for package in ("collectors", "promql", "alerts", "dashboards", "controlplane"):
        for path in (ROOT / package).rglob("*.py"):
            named |= set(re.findall(r'environ(?:ment)?(?:\.get\(|\[)"([A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert rows == named - inner


def test_every_fault_of_the_demo_is_documented() -> None:
    assert set(re.findall(r"`([\w-]+)`", verb_sections()["demo fault"])) == {*DemoFault, "clear"}


# --- generated parts


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["engine-matrix.md", "metrics.md", "rules.md"])
def test_the_generated_parts_are_current(page: str) -> None:
    text = read(page)
    assert generator().rendered(text) == text, "run: python docs/generate.py"


def test_every_capture_of_an_engine_is_in_the_matrix() -> None:
    module = generator()
    named = {name for names in module.CAPTURES.values() for name in names}
    assert {f"captures/{path.name}" for path in (module.FIXTURES / "captures").glob("*.prom")} <= named
    assert all((module.FIXTURES / name).is_file() for name in named)
    assert set(module.CAPTURES) <= set(load_catalogue().engines)


def test_every_generated_part_is_on_a_page() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))
    assert set(re.findall(r"<!-- generated: ([\w-]+) -->", texts)) == set(generator().PARTS)


def test_every_metric_and_raw_name_is_on_the_page() -> None:
    text, catalogue = read("metrics.md"), load_catalogue()
    for name, metric in catalogue.metrics.items():
        assert f"| `{name}` | {metric.type} | {metric.unit} |" in text
    for engine in catalogue.engines.values():
        for source in itertools.chain(*engine.sources.values()):
            assert all(f"`{raw}`" in text for raw in (*source.from_, *source.sum))


def test_every_own_metric_is_on_the_page() -> None:
    own = set(re.findall(r"^\| `(controlplane_\w+)`", read("metrics.md"), re.MULTILINE))
    # http-api.md is held against the code by the API's own tests.
    assert own == set(re.findall(r"^\| `(controlplane_\w+)`", read("http-api.md"), re.MULTILINE)) != set()


def test_every_rule_and_variable_is_on_the_page() -> None:
    text = read("rules.md")
    sections = {m[1]: m[2] for m in re.finditer(r"^#### (\S+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)}
    rules = [rule for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE) for rule in group.rules]
    assert set(sections) == {rule.name for rule in rules}
    for rule in rules:
        section = sections[rule.name]
        assert rule.expr.strip() in section
        if isinstance(rule, AlertingRule):
            severity = dict(rule.labels)["severity"].text
            held = f"for {format_duration(rule.for_s)}" if rule.for_s else "at once"
            assert f"\n{severity}, {held}; [runbook](../runbooks/{rule.name}.md)\n" in section
    for pack in BUILTIN:
        for variable in pack_variables(pack):
            assert f"\n| `{variable.name}` |" in text


# --- links


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in prose(path).splitlines():
        if heading := re.fullmatch(r"#{1,6} +(.+?) *#*", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = sum(1 for known in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known))
            found.add(f"{slug}-{number}" if number else slug)
    return found


def prose(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(path: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    found = re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", text)
    found += re.findall(r"^\[[^\]]+\]: +(\S+)", text, re.MULTILINE)
    return [link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in pages()])
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    broken = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_links_are_found_and_judged(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# One `two` (three)\n\n## Same\n\n## Same\n\n[x](b.md#c) `[no](no)` [y](https://x.example)\n```\n[z](z)\n```\n"
    )
    assert links(page) == ["b.md#c"]
    assert anchors(page) == {"one-two-three", "same", "same-1"}


# --- deployment (tests/image has the rest)


def test_the_unit_the_image_and_compose_run_the_same_verbs() -> None:
    units = [path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "systemd").glob("*.service")]
    lines = [m[1] for unit in units for m in re.finditer(r"^ExecStart=\S+/controlplane (.+)$", unit, re.MULTILINE)]
    image = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    lines += [" ".join(YAML(typ="safe").load(m)) for m in re.findall(r"^CMD (\[\"up\".+\])$", image, re.MULTILINE)]
    assert len(lines) == 5
    for line in lines:
        verb, *rest = line.split()
        known = {name for option in VERBS[verb].options for name in option.spellings}
        assert {word for word in rest if word.startswith("-")} <= known, line
