"""Check of rollouts' options: PromQL with variables, golden files, alerts that roll back, secrets, and the gates."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.app.check import inspect_file
from controlplane.app.checks.gates import gates_of
from controlplane.cli.main import run

NOW = datetime(2026, 12, 25, 12, tzinfo=UTC).timestamp()


class Checked:
    """Writes a fleet.yaml with options of rollouts, and checks it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "fleet.yaml"

    def write(self, rollout: dict[str, Any] | None, rollouts: dict[str, Any] | None = None) -> None:
        own = {} if rollout is None else {"rollout": rollout}
        model = {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "triton", "backends": [{"url": "http://a:1"}]},
            "versions": {"v1": {}, "v2": {}},
            "verify": {"prompt": "hi"},
            **own,
        }
        shared = {"rollouts": rollouts} if rollouts else {}
        self.file.write_text(json.dumps({"fleet": {"name": "x"}, "models": [model], **shared}))

    def __call__(self, rollout: dict[str, Any] | None = None, rollouts: dict[str, Any] | None = None) -> list[str]:
        self.write(rollout, rollouts)
        report = inspect_file(self.file)
        told = [str(finding).replace(f"{self.folder}/", "") for finding in report.findings]
        return [line.removeprefix("fleet.yaml:1: ").replace("models[0].rollout.", "") for line in told]

    def gates(self, rollout: dict[str, Any] | None, rollouts: dict[str, Any] | None = None) -> list[str]:
        self.write(rollout, rollouts)
        return list(gates_of(inspect_file(self.file).loaded, NOW))


@pytest.fixture
def check(tmp_path: Path) -> Checked:
    return Checked(tmp_path)


def limit(expr: str) -> dict[str, Any]:
    return {"analysis": {"thresholds": [{"name": "q", "expr": expr, "at_most": 1}]}}


def test_good_options_have_no_finding(check: Checked) -> None:
    good = 'sum(rate(llm_requests_total{model="{{model}}",version=~"{{version}}|{{stable}}"}[{{window}}]))'
    item = {"name": "load", "expr": 'my_load_test{version="{{version}}"}'}
    options = {**limit(good), "checklist": [item], "rollback_on": ["LLMErrorRateHigh"]}
    assert check(options, {"checklist": ["monitoring"]}) == []


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(", "cannot be evaluated: "),
        ("up[{{windwo}}]", "cannot be evaluated: {{windwo}} is not known here; known are {{model}}, {{version}}"),
        ("{{window}}", "cannot be evaluated: "),
    ],
)
def test_promql_is_parsed_with_its_variables_filled_in(check: Checked, expr: str, fault: str) -> None:
    if expr == "{{window}}":
        assert check(limit("up offset {{window}}")) == []
        (found,) = check({"checklist": [{"name": "c", "expr": "up offset {{window}}"}]})
        assert found.startswith("checklist[0].expr: cannot be evaluated: {{window}} is not known here")
        return
    (found,) = check(limit(expr))
    assert found.startswith(f"analysis.thresholds[0].expr: {fault}")


def test_promql_of_all_models_is_checked_too(check: Checked) -> None:
    (found,) = check(None, {"checklist": [{"name": "c", "expr": "sum("}]})
    assert found.startswith("rollouts.checklist[0].expr: cannot be evaluated: ")


def test_a_metric_that_looks_misspelt_is_a_warning_and_another_name_is_none(check: Checked) -> None:
    (found,) = check(limit("max(llm_requests_wating)"))
    assert found == (
        "warning: analysis.thresholds[0].expr: metric llm_requests_wating is not known; the nearest known name is "
        "llm_requests_waiting"
    )
    assert check(limit("max(zzz_from_elsewhere)")) == []


def test_an_alert_that_no_rule_has_is_a_warning(check: Checked) -> None:
    first, second = check({"rollback_on": ["LLMErrorRateHihg", "ZZZ"]})
    assert first == (
        "warning: rollback_on[0]: no alert is called LLMErrorRateHihg, so it rolls nothing back; did you mean "
        "'LLMErrorRateHigh'?"
    )
    assert (
        second
        == "warning: rollback_on[1]: no alert is called ZZZ, so it rolls nothing back; no rule of rules: has this name"
    )


def test_the_faults_of_a_golden_file_are_warnings_with_their_lines(check: Checked, tmp_path: Path) -> None:
    assert check({"golden": {"file": "golden.jsonl"}}) == [
        "golden.jsonl: warning: cannot be read: No such file or directory"
    ]
    good = {"prompt": "a", "expect": {"regex": "b"}}
    bad = {"prompt": "a", "expect": {"regex": "b("}}
    (tmp_path / "golden.jsonl").write_text(f"{json.dumps(good)}\n{{}}\n")
    first, second = check({"golden": {"file": "golden.jsonl"}})
    assert first == "golden.jsonl:2: warning: expect: is required"
    assert second == "golden.jsonl:2: warning: needs one of prompt:, body:"
    (tmp_path / "golden.jsonl").write_text(json.dumps(bad))
    assert check({"golden": {"file": "golden.jsonl"}}) == [
        "golden.jsonl: warning: prompts[0].expect.regex: is no RE2 expression: missing ): b("
    ]
    assert check({"golden": {"prompts": [good, bad]}}) == [
        "golden.prompts[1].expect.regex: is no RE2 expression: missing ): b("
    ]


def test_the_key_of_a_judge_is_missing(check: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def golden(**key: str) -> dict[str, Any]:
        judge = {"url": "http://j/v1", "model": "judge", **key}
        return {"golden": {"prompts": [{"prompt": "a", "expect": {"judged": "good"}}], "judge": judge}}

    monkeypatch.delenv("JUDGE_KEY", raising=False)
    assert check(golden(key_env="JUDGE_KEY")) == [
        "warning: golden.judge.key_env: environment variable JUDGE_KEY is not set or empty; put the key there"
    ]
    monkeypatch.setenv("JUDGE_KEY", "geheim")
    assert check(golden(key_env="JUDGE_KEY")) == []
    assert check(golden(key_file="key")) == ["warning: golden.judge.key_file: key: No such file or directory"]
    os.mkfifo(tmp_path / "key")
    assert check(golden(key_file="key")) == ["warning: golden.judge.key_file: key: it is no regular file"]
    (tmp_path / "key").unlink()
    (tmp_path / "key").write_text("")
    assert check(golden(key_file="key")) == ["warning: golden.judge.key_file: key is empty; put the key there"]
    (tmp_path / "key").write_text("geheim")
    assert check(golden(key_file="key")) == []


def test_the_secret_of_a_hook_is_missing(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_KEY", raising=False)
    hook = {"name": "h", "at": "end", "url": "http://h/", "authorization": {"credentials_env": "HOOK_KEY"}}
    assert check({"hooks": [hook]}) == [
        "warning: hooks[0].authorization: the environment variable HOOK_KEY is not set or empty"
    ]


def test_wrong_options_hide_no_other_fault(check: Checked) -> None:
    told = check({"deadline": 5, **limit("sum(")}, {"checklist": [{"name": "c", "expr": "sum("}]})
    assert [line.partition(": ")[0] for line in told] == ["deadline", "rollouts.checklist[0].expr"]


def test_the_gates_of_a_file(check: Checked) -> None:
    freeze = {"freeze": [{"name": "feast", "from": "2026-12-24", "to": "2026-12-26"}], "checklist": ["monitoring"]}
    assert check.gates(None, freeze) == [
        "chat: strategy: blue-green",
        "chat: freeze: window feast holds until 2026-12-27 00:00 UTC",
        "chat: check monitoring is checked when the rollout starts",
    ]
    assert check.gates({"strategy": "recreate", "golden": {"file": "none.json"}}) == [
        "chat: strategy: recreate",
        "chat: freeze: fleet.yaml has no freeze windows",
        "chat: golden set: 100% of 0 prompts must hold",
    ]


def test_the_verb_prints_the_gates_of_good_files_only(check: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    check.write({"rollback_window": "10m"})
    assert run(["check", "--gates", str(check.file)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "chat: strategy: blue-green",
        "chat: freeze: fleet.yaml has no freeze windows",
        "chat: rollback window: the old version stays loaded for 10m",
    ]
    check.write({"rollback_window": 10})
    assert run(["check", "--gates", str(check.file)]) == 2
    assert "freeze" not in capsys.readouterr().out
