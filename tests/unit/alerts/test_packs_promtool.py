"""The packs before promtool itself: the rules are Prometheus's, and so is the verdict on their unit tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from alerts.packs import BUILTIN, Override, load_pack
from alerts.rules import as_prometheus
from alerts.template import Template

pytestmark = pytest.mark.needs("prometheus")

SHORT_SEASON = {
    "qps_ratio": Override(for_=120, window=60),
    "qps_baseline": Override(window=120),
    "qps_offset_1": Override(value="9m"),
    "qps_offset_2": Override(value="19m"),
    "qps_offset_3": Override(value="29m"),
}


def promtool(*args: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rules(tmp_path: Path, fixtures: Path) -> Path:
    for name in BUILTIN:
        # JSON is YAML: no dumper's opinion about quoting comes between the rules and promtool.
        (tmp_path / f"{name}.rules.yaml").write_text(json.dumps(as_prometheus(load_pack(name))))
    short = as_prometheus(load_pack("llm", SHORT_SEASON))
    (tmp_path / "llm-short.rules.yaml").write_text(json.dumps(short))
    for test in (fixtures / "rules").glob("*.test.yaml"):
        shutil.copy(test, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BUILTIN)
def test_promtool_accepts_the_pack(rules: Path, name: str) -> None:
    promtool("check", "rules", f"{name}.rules.yaml", cwd=rules)


@pytest.mark.parametrize("name", ["gpu", "llm", "baseline"])
def test_promtool_confirms_every_rule(rules: Path, name: str) -> None:
    promtool("test", "rules", f"{name}.test.yaml", cwd=rules)


VALUES = [0.0, 1.0, 0.5, -3.25, 91.0, 1 / 3, 2 / 3, 1234567.891, 0.00123, 0.0000123, 59.9, 61.0, 3600.0, 90061.5, 1e15,
          1e-7, 1024.0, 85899345920.0, 0.999, 999.95, -0.02, -7261.0, 999999.0, 1e6, 5e-324, 0.1 + 0.2]  # fmt: skip
"""Whole days beyond int64 are left out: humanizeDuration overflows there in Go."""
TEXT = (
    "{{ $value }}|{{ humanize $value }}|{{ humanize1024 $value }}|{{ $value | humanizeDuration }}|"
    "{{ humanizePercentage $value }}|{{ printf `%.2f %v %e %8.3f|%-5s|%q` $value $value $value $value $labels.n `x` }}|"
    "{{ $labels.none }}|"
    "{{ if gt $value 1.0 }}big{{ else if eq $labels.n `0` }}zero{{ else }}{{ title `a b` }}{{ end }}|"
    "{{- /* note */ -}} {{ reReplaceAll `(\\d)` `<$1>` $labels.n }}{{ toUpper `µs` }}"
)


def test_templates_render_as_in_prometheus(tmp_path: Path) -> None:
    template = Template(TEXT)
    rule = {"alert": "A", "expr": "x + 0 * x", "annotations": {"text": TEXT}}
    (tmp_path / "r.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    expected = [
        {"exp_labels": {"n": str(n)}, "exp_annotations": {"text": template.render({"n": str(n)}, value)}}
        for n, value in enumerate(VALUES)
    ]
    series = [{"series": f'x{{n="{n}"}}', "values": repr(value)} for n, value in enumerate(VALUES)]
    checks = [{"eval_time": "0s", "alertname": "A", "exp_alerts": expected}]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": checks}]
    (tmp_path / "t.yaml").write_text(json.dumps({"rule_files": ["r.yaml"], "tests": tests}))
    promtool("test", "rules", "t.yaml", cwd=tmp_path)
