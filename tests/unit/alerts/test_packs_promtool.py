"""The packs before promtool itself: the rules are Prometheus's, and so is the verdict on their unit tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from alerts.packs import BUILTIN, Override, load_pack
from alerts.rules import as_prometheus

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
