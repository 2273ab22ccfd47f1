"""The packs: every rule is documented and tunable, and has promtool unit tests, which our own engine runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from alerts import packs
from alerts.errors import NoDataError, RuleError, TemplateError
from alerts.no_data import Action, NoData
from alerts.packs import (
    BUILTIN,
    EXAMPLE,
    PackOptions,
    expanded,
    load_pack,
    load_sources,
    no_data_faults,
    pack_variables,
)
from alerts.rules import AlertingRule, RecordingRule, RuleGroup, as_prometheus, duplicates, parse_rules
from alerts.template import Answers, Surroundings
from alerts.yaml_nodes import Place, read_yaml
from collectors.catalogue.model import Catalogue, load_catalogue
from collectors.durations import parse_duration
from collectors.engines.kinds import AUTO, ENGINES
from controlplane.ruletest.document import load_test_file
from tests.fakes.override import Override

ROOT = Path(__file__).parents[3]
PACK_TESTS = ROOT / "alerts" / "packs" / "tests"
ALERTS = [
    rule
    for pack in BUILTIN
    for group in load_pack(pack, options=EXAMPLE)
    for rule in group.rules
    if isinstance(rule, AlertingRule)
]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.alert)
def test_every_alert_is_complete_and_has_a_runbook(rule: AlertingRule) -> None:
    annotations = {name: template.text for name, template in rule.annotations}
    assert set(annotations) == {"summary", "description", "runbook_url", "owner"}
    assert annotations["owner"] == "on-call"
    assert "$value" in annotations["description"]
    assert annotations["runbook_url"] == f"docs/runbooks/{rule.alert}.md"
    page = (ROOT / annotations["runbook_url"]).read_text()
    assert page.startswith(f"# {rule.alert}\n")
    for heading in ("## Meaning", "## Impact", "## Check", "## Fix", "## Silence and tune"):
        assert heading in page, f"{rule.alert} lacks {heading}"
    assert dict(rule.labels)["severity"].text in ("critical", "warning", "info", "none")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.alert)
def test_every_template_renders_without_any_label(rule: AlertingRule) -> None:
    for _, template in rule.annotations:
        answers = Answers()
        try:
            template.render({}, 1.5, Surroundings(answers=answers))
        except TemplateError:  # a query has no result yet: the caller runs it, and here it finds nothing
            answers = Answers(dict.fromkeys(answers.wanted, ()))
        assert "{{" not in template.render({}, 1.5, Surroundings(answers=answers))


def test_every_alert_is_fired_by_a_test_that_knows_its_words() -> None:
    tests = [test for path in PACK_TESTS.glob("*.test.yml") for test in load_test_file(path).tests]
    fired = {case.alertname for test in tests for case in test.alerts if any(a.annotations for a in case.expected)}
    assert fired == {rule.alert for rule in ALERTS}


def test_no_rule_sums_across_sources() -> None:
    mixing = re.compile(r"sum by \(([^)]*)\) \(\w+\(llm_requests_total(\{[^}]*\})?")
    for pack in BUILTIN:
        for rule in (rule for group in load_pack(pack, options=EXAMPLE) for rule in group.rules):
            for by, matchers in mixing.findall(rule.expr):
                assert "source" in by or re.search(r'source="', matchers), rule.id


def test_packs_do_not_repeat_a_rule_and_docs_list_every_variable() -> None:
    assert duplicates([group for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE)]) == []
    page = (ROOT / "docs" / "alerts.md").read_text()
    for pack in BUILTIN:
        for variable in pack_variables(pack):
            assert f"`{variable.name}`" in page, f"docs/alerts.md lacks {variable.name}"
            assert variable.help
        for rule in (rule for group in load_pack(pack, options=EXAMPLE) for rule in group.rules):
            assert f"`{rule.name}`" in page or f"[{rule.name}]" in page, f"docs/alerts.md lacks {rule.name}"


def test_rules_match_the_kind_of_engine_and_never_the_name_of_a_job() -> None:
    # A target that was never recognised may be any program, so it has TargetDown only.
    serving = "|".join(k.name for k in ENGINES.values() if k.names_models and not k.hosted and k.name != AUTO)
    for pack in BUILTIN:
        for rule in (rule for group in load_pack(pack, options=EXAMPLE) for rule in group.rules):
            assert not re.search(r"\bjob\s*(=|!)", rule.expr), rule.id
            for kinds in re.findall(r'target_up\{engine=~"([^"]+)"', rule.expr):
                assert kinds.removesuffix("|gateway") == serving, rule.id  # a new engine belongs into these rules


def test_packs_use_canonical_metrics_only() -> None:
    canonical = set(load_catalogue().names())
    for pack in BUILTIN:
        rules = [rule for group in load_pack(pack, options=EXAMPLE) for rule in group.rules]
        for rule in rules:
            used = set(re.findall(r"(?<![\w:])((?:llm|gpu)_\w+)(?![\w:])", rule.expr))
            families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
            assert families - canonical == set(), rule.id


def test_docs_show_the_defaults() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    for variable in (v for pack in BUILTIN for v in pack_variables(pack)):
        value, for_, window, _help = (cell.strip() for cell in rows[variable.name].split("|"))
        assert (variable.for_s, variable.window_s) == tuple(parse_duration(d) if d else None for d in (for_, window))
        number = None if not value else parse_duration(value) if value[-1] in "smhd" else float(value)
        assert variable.value == number, variable.name


def find(name: str, pack: str, overrides: dict[str, Override]) -> AlertingRule:
    rules = [rule for group in load_pack(pack, overrides) for rule in group.rules if rule.name == name]
    assert isinstance(rules[0], AlertingRule)
    return rules[0]


def test_thresholds_change_value_for_and_window() -> None:
    rule = find("LLMLatencyP99High", "llm", {"latency_p99": Override(value="1500ms", for_=90, window=120)})
    assert "> 1.5\n" in rule.expr
    assert "[2m]" in rule.expr
    assert rule.for_s == 90
    assert "above 1s500ms, for at least 1m30s" in dict(rule.annotations)["description"].text
    untouched = find("LLMLatencyP99High", "llm", {})
    assert "> 2\n" in untouched.expr and "[5m]" in untouched.expr and untouched.for_s == 300


def test_a_number_is_seconds_where_seconds_are_meant() -> None:
    assert "> 0.25\n" in find("LLMLatencyQuantileHigh", "triton", {"latency_p99": Override(value=0.25)}).expr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"latency": Override(value=1)},
            r"threshold latency: is not known; did you mean 'latency_p99'\? known are cloud_errors, .*ttft_p95",
        ),
        ({"error_rate": Override(value="2s")}, r"error_rate: value: expected a number \(fraction\), got the duration"),
        ({"error_rate": Override(value=5)}, r"error_rate: value: expected a fraction between 0 and 1, got 5"),
        ({"latency_p99": Override(value="fast")}, r"latency_p99: value: expected a number or a duration such as 2s"),
        ({"latency_p99": Override(value=-1)}, r"latency_p99: value: expected .* from 0 on"),
        ({"latency_p99": Override(value=float("nan"))}, r"latency_p99: value: expected .* from 0 on"),
        ({"latency_p99": Override(window=0)}, r"latency_p99: window: must be longer than 0"),
        (
            {"queue_ratio": Override(window=60)},
            "queue_ratio: window: is not a field of this variable; it has value, for",
        ),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(overrides: dict[str, Override], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        load_pack("llm", overrides)


def test_an_unknown_pack_is_refused_with_those_there_are() -> None:
    with pytest.raises(RuleError, match=r"builtin:cpu: no such rule pack; there are builtin:llm, builtin:triton"):
        load_pack("cpu")


def test_runbooks_may_be_served_elsewhere() -> None:
    (group,) = (g for g in load_pack("gpu", options=PackOptions("https://runbooks.example/")) if g.name == "gpu")
    rule = next(rule for rule in group.rules if isinstance(rule, AlertingRule))
    assert dict(rule.annotations)["runbook_url"].text == "https://runbooks.example/GPUMemoryHigh.md"


def test_sources_are_packs_and_files(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    for name in ("b", "a"):
        text = f"groups: [{{name: {name}, rules: [{{record: 'x:{name}', expr: up}}]}}]"
        (tmp_path / "rules" / f"{name}.yml").write_text(text)
    groups = load_sources(["builtin:gpu", "rules/*.yml", "none/*.yml"], tmp_path, {"temperature": Override(value=70)})
    assert [g.name for g in groups] == ["gpu", "a", "b"]
    assert isinstance(groups[1].rules[0], RecordingRule)
    assert groups[1].key == f"{tmp_path}/rules/a.yml;a"
    twice = load_sources(["rules/a.yml", "rules/*.yml", "builtin:gpu", "builtin:gpu"], tmp_path)
    assert [g.name for g in twice] == ["a", "b", "gpu"]
    absolute = load_sources([f"{tmp_path}/rules/a*.yml"], Path("/nowhere"))
    assert [g.name for g in absolute] == ["a"]


def test_sources_refuse_thresholds_of_packs_that_are_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        RuleError, match=r"threshold latency_p99: is not known; known are ecc_corrected, gpu_errors, gpu_lost"
    ):
        load_sources(["builtin:gpu"], tmp_path, {"latency_p99": Override(value=1)})
    with pytest.raises(RuleError, match=r"known are none, because no built-in pack is loaded"):
        load_sources([], tmp_path, {"latency_p99": Override(value=1)})
    with pytest.raises(RuleError, match=r"missing\.yml: cannot be read"):
        load_sources(["missing.yml"], tmp_path)


def test_a_pack_loaded_twice_is_equal_so_that_a_reload_can_tell_what_changed() -> None:
    assert load_pack("llm") == load_pack("llm")
    assert load_pack("gpu") != load_pack("gpu", {"temperature": Override(value=70)})


def test_a_pack_brings_those_that_it_includes_once() -> None:
    former = ("triton", "vllm", "gateway", "slo", "cost", "rollout", "self")
    assert expanded(["builtin:llm", "rules/*.yml"]) == ("builtin:llm", *(f"builtin:{n}" for n in former), "rules/*.yml")
    assert expanded(["builtin:cost", "builtin:llm"]).count("builtin:cost") == 1
    assert expanded(["builtin:gpu"]) == ("builtin:gpu",)
    names = [group.file for group in load_sources(["builtin:llm"], Path("/nowhere"))]
    assert "builtin:gateway" in names and "builtin:self" in names and "builtin:slo" not in names


def test_a_threshold_of_two_packs_is_one_threshold() -> None:
    by_name: dict[str, set[object]] = {}
    for variable in (v for pack in BUILTIN for v in pack_variables(pack)):
        by_name.setdefault(variable.name, set()).add(variable)
    assert [name for name, variables in by_name.items() if len(variables) > 1] == []
    groups = load_sources(["builtin:llm"], Path("/nowhere"), {"service_down": Override(for_=99.0)})
    rules = {rule.name: rule for group in groups for rule in group.rules if isinstance(rule, AlertingRule)}
    assert rules["LLMEngineDown"].for_s == rules["LLMGatewayDown"].for_s == 99.0


def policies(groups: Iterable[RuleGroup]) -> dict[str, NoData]:
    rules = [rule for group in groups for rule in group.rules if isinstance(rule, AlertingRule)]
    return {rule.alert: rule.no_data for rule in rules if rule.no_data != NoData()}


def test_a_policy_for_missing_data_is_that_of_fleet_yaml_by_alert() -> None:
    fire = NoData(Action.FIRE, 600.0)
    groups = load_pack("gpu", options=PackOptions(no_data={"GPUTemperatureHigh": fire}))
    assert policies(groups) == {"GPUTemperatureHigh": fire}
    assert policies(parse_rules(yaml.safe_dump(as_prometheus(groups)), "f.yml")) == {"GPUTemperatureHigh": fire}
    ids = [rule.id for group in groups for rule in group.rules]
    assert ids == [rule.id for group in load_pack("gpu") for rule in group.rules], "alerts keep their state"


def test_a_policy_of_an_alert_that_no_loaded_pack_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("groups: [{name: g, rules: [{alert: Mine, expr: up == 0}]}]")
    for name, said in (
        ("GPUTemperatureHi", "did you mean 'GPUTemperatureHigh'? "),
        ("LLMModelDown", "`cp rules list` lists them"),
        ("Mine", "a rule of a file has the annotation controlplane_no_data"),
    ):
        with pytest.raises(NoDataError, match=f"policy for missing data of {name}: is no alert") as caught:
            load_sources(["builtin:gpu", "mine.yml"], tmp_path, options=PackOptions(no_data={name: NoData()}))
        assert said in str(caught.value)
    # The pack of SLOs has its alerts whether or not there are SLOs now.
    assert [one.name for one in no_data_faults(["builtin:llm"], ["LLMSLOFastBurn", "Watchdog", "GPULost"])] == [
        "GPULost"
    ]


def test_owners_are_those_of_fleet_yaml_by_pack() -> None:
    options = PackOptions(owners={"default": "ml", "gpu": "infra"})
    for pack, owner in (("gpu", "infra"), ("self", "ml")):
        rules = [rule for group in load_pack(pack, options=options) for rule in group.rules]
        assert {dict(r.annotations)["owner"].text for r in rules if isinstance(r, AlertingRule)} == {owner}


_EVERY = {"engine", "instance", "node", "model", "version", "source", "served_model", "simulated", "job", "le"}
"""Labels that any canonical series may have."""
_SERIES = re.compile(r"series: '(\w+)\{([^']*)\}'")


def foreign_labels(text: str, catalogue: Catalogue) -> dict[str, set[str]]:
    """Return the labels in a pack's tests that no engine gives the canonical metric, by metric."""
    found: dict[str, set[str]] = {}
    for name, labels in _SERIES.findall(text):
        if family := catalogue.family(name):
            engines = [e for e in catalogue.engines.values() if family in e.sources or family in e.native]
            given = {to for engine in engines for tos in engine.labels.values() for to in tos}
            own = set(re.findall(r'(\w+)="', labels)) - _EVERY - given - set(catalogue.metrics[family].labels)
            if own:
                found.setdefault(family, set()).update(own)
    return found


def test_series_in_the_tests_of_packs_have_labels_that_exist() -> None:
    catalogue = load_catalogue()
    pages = sorted((ROOT / "alerts" / "packs" / "tests").glob("*.yml"))
    assert len(pages) > 5
    assert {page.name: found for page in pages if (found := foreign_labels(page.read_text(), catalogue))} == {}


def test_the_check_of_labels_can_fail() -> None:
    text = """- {series: 'llm_model_state{backend="http://t:8000",model="chat",state="loading"}', values: '1x30'}"""
    assert foreign_labels(text, load_catalogue()) == {"llm_model_state": {"backend"}}


def test_texts_of_rules_on_engines_have_words_for_a_model_without_a_name() -> None:
    own = re.compile(r'source="engine"|llm_requests_running|llm_kv_cache')
    nameless = [rule for rule in ALERTS if own.search(rule.expr) and not rule.id.startswith("builtin:triton")]
    assert len(nameless) > 6
    for rule in nameless:
        summary = dict(rule.annotations)["summary"].text
        assert "{{ $labels.model }}" not in summary, rule.id
        assert "  " not in dict(rule.annotations)["summary"].render(
            {"instance": "a:1", "rank": "0"}, 1.0, Surroundings()
        )


def test_a_pack_is_read_once_for_equal_values_and_anew_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reading(text: str, file: str) -> Place:
        read.append(file)
        return read_yaml(text, file)

    monkeypatch.setattr(packs, "read_yaml", reading)
    warm = Override(value=71.5)
    first = load_pack("gpu", {"temperature": warm}, PackOptions(owners={"gpu": "ann"}))
    assert read.count("builtin:gpu") == 1
    again = load_pack("gpu", {"temperature": Override(value=71.5)}, PackOptions(owners={"gpu": "ann"}))
    other = load_pack("gpu", {"temperature": warm}, PackOptions(owners={"gpu": "ben"}))
    assert read.count("builtin:gpu") == 1
    assert again == first != other
    hot = load_pack("gpu", {"temperature": Override(value=72.5)}, PackOptions(owners={"gpu": "ann"}))
    assert read.count("builtin:gpu") == 2
    assert (
        [(rule.name, rule.expr.replace("72.5", "71.5")) for group in hot for rule in group.rules if "72.5" in rule.expr]
        == [(rule.name, rule.expr) for group in first for rule in group.rules if "71.5" in rule.expr]
        != []
    )
