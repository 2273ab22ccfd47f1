"""The packs' unit tests. `rules test` and promtool run the same files and must agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from alerts.template import Surroundings, Template
from controlplane.cli.main import run

PACK_TESTS = Path(__file__).parents[3] / "alerts" / "packs" / "tests"
RENDERED = {
    **{name: [f"builtin:{name}"] for name in ("llm", "triton", "vllm", "gateway", "rollout", "self", "gpu", "backups")},
    **{name: ["-c", str(PACK_TESTS / f"{name}.fleet.yaml")] for name in ("baseline", "slo")},
}
"""Arguments of `rules list --prometheus` for each test's rule file, as in the head of the test."""


def promtool(*args: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rules(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with the tests of a file's name, and the rules that they test."""
    assert run(["rules", "list", "--prometheus", *RENDERED[name]]) == 0
    (tmp_path / f"{name}.rules.yml").write_text(capsys.readouterr().out)
    shutil.copy(PACK_TESTS / f"{name}.test.yml", tmp_path)
    return tmp_path


def test_each_file_of_tests_is_run() -> None:
    assert {path.name for path in PACK_TESTS.glob("*.test.yml")} == {f"{name}.test.yml" for name in RENDERED}


def test_each_file_of_tests_says_how_its_rules_are_made() -> None:
    for name, arguments in RENDERED.items():
        how = " ".join(Path(a).name if a.endswith(".yaml") else a for a in arguments)
        head = (PACK_TESTS / f"{name}.test.yml").read_text()
        assert f"\n# Its rules: cp rules list {how} --prometheus > {name}.rules.yml\n" in head


@pytest.mark.parametrize("name", RENDERED)
def test_our_engine_confirms_every_rule(rules: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", str(rules / f"{name}.test.yml")]) == 0, capsys.readouterr().out
    assert re.search(r"^\d\d?\d? passed, 0 failed in 1 file$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("name", RENDERED)
def test_promtool_accepts_the_pack(rules: Path, name: str) -> None:
    promtool("check", "rules", f"{name}.rules.yml", cwd=rules)


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("name", RENDERED)
def test_promtool_confirms_every_rule(rules: Path, name: str) -> None:
    promtool("test", "rules", f"{name}.test.yml", cwd=rules)


VALUES = [0.0, 1.0, 0.5, -3.25, 91.0, 1 / 3, 2 / 3, 1234567.891, 0.00123, 0.0000123, 59.9, 61.0, 3600.0, 90061.5, 1e15,
          1e-7, 1024.0, 85899345920.0, 0.999, 999.95, -0.02, -7261.0, 999999.0, 1e6, 5e-324, 0.1 + 0.2]  # fmt: skip
"""Values for the comparison, none with more days than int64 holds: there, Go's humanizeDuration overflows."""
TEXT = (
    "{{ $value }}|{{ humanize $value }}|{{ humanize1024 $value }}|{{ $value | humanizeDuration }}|"
    "{{ humanizePercentage $value }}|{{ printf `%.2f %v %e %8.3f|%-5s|%q` $value $value $value $value $labels.n `x` }}|"
    "{{ $labels.none }}|"
    "{{ if gt $value 1.0 }}big{{ else if eq $labels.n `0` }}zero{{ else }}{{ title `a b` }}{{ end }}|"
    "{{- /* note */ -}} {{ reReplaceAll `(\\d)` `<$1>` $labels.n }}{{ toUpper `µs` }}"
)


@pytest.mark.needs("prometheus")
def test_templates_render_as_in_prometheus(tmp_path: Path) -> None:
    template = Template(TEXT)
    rule = {"alert": "A", "expr": "x + 0 * x", "annotations": {"text": TEXT}}
    (tmp_path / "r.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    expected = [
        {
            "exp_labels": {"n": str(n)},
            "exp_annotations": {"text": template.render({"n": str(n)}, value, Surroundings())},
        }
        for n, value in enumerate(VALUES)
    ]
    series = [{"series": f'x{{n="{n}"}}', "values": repr(value)} for n, value in enumerate(VALUES)]
    checks = [{"eval_time": "0s", "alertname": "A", "exp_alerts": expected}]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": checks}]
    (tmp_path / "t.yaml").write_text(json.dumps({"rule_files": ["r.yaml"], "tests": tests}))
    promtool("test", "rules", "t.yaml", cwd=tmp_path)
