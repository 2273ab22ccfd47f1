"""The verbs `rules …`: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from alerts.packs import load_pack
from alerts.rules import load_rule_files, parse_rules
from controlplane.cli.main import run

TEST = """\
tests:
  - name: good
    promql_expr_test: [{expr: '1', exp_samples: [{value: 1}]}]
  - name: bad
    promql_expr_test: [{expr: '1', exp_samples: [{value: 2}]}]
"""
GOOD = "groups: [{name: g, rules: [{alert: A, expr: up == 0, for: 1m, annotations: {runbook_url: x}}]}]\n"


@pytest.fixture
def test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.test.yml").write_text(TEST)
    return "a.test.yml"


def test_failures_are_shown_counted_and_1(test_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", test_file]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a.test.yml:5: bad: 1 at 0s",
        "    - {} 2",
        "    + {} 1",
        "a.test.yml: 1 passed, 1 failed",
        "1 passed, 1 failed in 1 file",
    ]
    assert err == "controlplane: cases failed: 1\n"


def test_run_chooses_tests_by_name(test_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", test_file, "--run", "^go"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed in 1 file"
    assert run(["rules", "test", test_file, "--run", "nothing", "--run", "ad$"]) == 1
    assert run(["rules", "test", test_file, "--run", "neither"]) == 2
    assert "--run: no test of these files has a name that matches 'neither'" in capsys.readouterr().err
    assert run(["rules", "test", test_file, "--run", "("]) == 2
    assert "--run: error parsing regexp: missing closing )" in capsys.readouterr().err


def test_a_bad_file_is_2_and_keeps_no_other_from_running(test_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yml").write_text("tests: [{nmae: x}]")
    assert run(["rules", "test", "bad.yml", test_file, "--run", "good"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("bad.yml:1: unknown field nmae; known fields are name, ")
    assert out.endswith("1 passed, 0 failed in 2 files; 1 could not be read\n")
    assert err == "controlplane: test files that could not be run: 1\n"


def test_a_program_gets_json_and_nothing_else(test_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", test_file, "-o", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["passed"], data["failed"], len(data["files"][0]["tests"])) == (1, 1, 2)
    assert run(["rules", "test", test_file, "-o", "yaml"]) == 1
    assert YAML(typ="safe").load(capsys.readouterr().out) == data


def test_without_a_file_there_is_nothing_to_test() -> None:
    assert run(["rules", "test"]) == 2


def test_check_is_0_1_and_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.yml").write_text(GOOD)
    Path("warn.yml").write_text(GOOD.replace("up ==", "uup =="))
    Path("error.yml").write_text(GOOD.replace("up ==", "up =("))
    assert run(["rules", "check", "good.yml"]) == 0
    assert capsys.readouterr().out == "good: 1 rules, 1 groups\n"
    assert run(["rules", "check", "good.yml", "--strict"]) == 0
    capsys.readouterr()
    assert run(["rules", "check", "warn.yml", "good.yml"]) == 0
    warning = "warn.yml:1: warning: group g: A: metric uup is not known; the nearest known name is up\n"
    out = capsys.readouterr().out
    assert out.startswith(
        "good.yml:1: warning: A with labels {} is defined 2 times; the first is at warn.yml:1\n" + warning
    )
    assert out.endswith("good: 2 rules, 2 groups, 2 warnings\n")
    assert run(["rules", "check", "--strict", "warn.yml"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (warning, "controlplane: warnings found: 1\n")
    assert run(["rules", "check", "error.yml", "none.yml", "builtin:nope", "warn.yml"]) == 2
    out, err = capsys.readouterr()
    assert [line.split(": ")[:2] for line in out.splitlines()] == [
        ["builtin:nope", "error"],
        ["error.yml:1", "error"],
        ["none.yml", "error"],
        ["warn.yml:1", "warning"],
    ]
    assert err == "controlplane: faults found: 3\n"


def test_the_packs_pass_the_strict_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "check", "--strict"]) == 0
    assert run(["rules", "check", "--strict", "builtin:gpu"]) == 0
    assert capsys.readouterr().out.count("good: ") == 2


def test_a_listing_names_packs_files_or_a_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    assert run(["rules", "list", str(tmp_path / "good.yml"), "builtin:gpu", "-o", "json"]) == 0
    listed = [rule["rule"] for rule in json.loads(capsys.readouterr().out)]
    assert (listed[0], "GPULost" in listed, "Watchdog" in listed) == ("A", True, False)
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("fleet: {name: x}\nrules: [good.yml, builtin:gpu]\nthresholds: {temperature: {value: 70}}\n")
    assert run(["rules", "list", "-c", str(fleet)]) == 0
    assert "(gpu_temperature_celsius) > 70) " in capsys.readouterr().out
    assert run(["rules", "list", "-c", str(fleet), "builtin:gpu"]) == 2
    assert "give either -c or rule files" in capsys.readouterr().err
    assert run(["rules", "list", "builtin:nope"]) == 2
    assert "no such rule pack; there are builtin:llm, builtin:triton" in capsys.readouterr().err


def test_a_pack_as_a_prometheus_rule_file_is_the_same_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "list", "builtin:gpu", "--prometheus"]) == 0
    written = capsys.readouterr().out
    (read,) = (g for g in parse_rules(written, "builtin:gpu") if g.name == "gpu")
    assert read == next(g for g in load_pack("gpu") if g.name == "gpu")
    (tmp_path / "gpu.rules.yml").write_text(written)
    assert run(["rules", "check", "--strict", str(tmp_path / "gpu.rules.yml")]) == 0
    capsys.readouterr()
    assert run(["rules", "list", "builtin:gpu", "--prometheus", "-o", "json"]) == 0
    (tmp_path / "gpu.rules.yml").write_text(capsys.readouterr().out)
    assert [g.name for g in load_rule_files([tmp_path / "gpu.rules.yml"])] == ["gpu"]
