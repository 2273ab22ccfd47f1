from __future__ import annotations

import json
import re
from pathlib import Path

from controlplane.demo.repository import write_faults, write_repository
from tests.fakes.failing_version import write_failing_version


def test_two_versions_lie_there_and_the_policy_serves_the_first(tmp_path: Path) -> None:
    write_repository(tmp_path / "models")
    config = (tmp_path / "models/model/config.pbtxt").read_text()
    assert re.search(r"version_policy \{ specific \{ versions: \[ 1 \] \} \}", config)
    assert "model_transaction_policy { decoupled: true }" in config
    assert sorted(p.name for p in (tmp_path / "models/model").iterdir()) == ["1", "2", "config.pbtxt"]
    sources = [(tmp_path / f"models/model/{v}/model.py").read_text() for v in (1, 2)]
    assert sources[0] == sources[1]
    assert "class TritonPythonModel" in sources[0]


def test_the_fault_file_is_named_in_the_config_by_its_absolute_path(tmp_path: Path) -> None:
    fault_file = write_repository(tmp_path / "models", token_seconds=0.005)
    config = (tmp_path / "models/model/config.pbtxt").read_text()
    assert json.dumps(str(fault_file.resolve())) in config
    assert 'string_value: "0.005"' in config
    assert not fault_file.is_relative_to(tmp_path / "models")  # a change inside would look like a new model to Triton


def test_writing_again_replaces_what_lay_there(tmp_path: Path) -> None:
    write_repository(tmp_path)
    write_failing_version(tmp_path, 3, reason="no such file: 'weights.bin'")
    assert "no such file: 'weights.bin'" in (tmp_path / "model/3/model.py").read_text()
    write_repository(tmp_path)
    assert not (tmp_path / "model/3").exists()


def test_what_was_promoted_is_kept_while_the_code_is_renewed(tmp_path: Path) -> None:
    write_repository(tmp_path, keep_config=True)
    (tmp_path / "model/config.pbtxt").write_text("promoted")
    (tmp_path / "model/1/model.py").write_text("of an older release")
    write_repository(tmp_path, keep_config=True)
    assert (tmp_path / "model/config.pbtxt").read_text() == "promoted"
    assert "class TritonPythonModel" in (tmp_path / "model/1/model.py").read_text()


def test_the_failing_version_is_python_whatever_its_reason_says(tmp_path: Path) -> None:
    write_failing_version(tmp_path, 3, reason="quotes \" ' and\nlines")
    compile((tmp_path / "model/3/model.py").read_text(), "model.py", "exec")


def test_faults_are_replaced_in_one_step(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    write_faults(file, {2: 4.0})
    assert json.loads(file.read_text()) == {"slow": {"2": 4.0}}
    write_faults(file, {})
    assert json.loads(file.read_text()) == {"slow": {}}
    assert [p.name for p in tmp_path.iterdir()] == ["faults.json"]
