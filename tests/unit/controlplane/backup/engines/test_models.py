"""The models of a restored folder, by the paths of its tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.engines.models import RestoredModel, expected_versions, models_in
from controlplane.backup.errors import BackupError

ROOT = Path("/models")


@pytest.mark.parametrize(
    ("root", "paths", "found"),
    [
        (ROOT, [".", "chat", "chat/1", "chat/1/w", "rag", "rag/config.pbtxt", "notes", "notes/a.txt"], ["chat", "rag"]),
        (ROOT / "chat", [".", "1", "1/model.onnx"], ["chat"]),
        (ROOT / "chat", [".", "config.pbtxt"], ["chat"]),
        (ROOT / "chat" / "2", [".", "model.py"], ["chat 2"]),
    ],
)
def test_a_repository_a_model_and_a_version(root: Path, paths: list[str], found: list[str]) -> None:
    models = models_in(paths, root)
    assert [f"{one.name} {one.must_serve or ''}".strip() for one in models] == found
    assert {one.folder for one in models} <= {ROOT / "chat", ROOT / "rag"}


@pytest.mark.parametrize("paths", [[], ["."], ["model.safetensors"], ["a", "a/b", "a/b/1"]])
def test_a_folder_without_a_model_is_refused(paths: list[str]) -> None:
    with pytest.raises(BackupError, match="no model that Triton can load"):
        models_in(paths, ROOT)


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (None, [10]),
        ({"latest": {}}, [10]),
        ({"latest": {"num_versions": 2}}, [2, 10]),
        ({"latest": {"num_versions": "2"}}, [2, 10]),
        ({"all": {}}, [1, 2, 10]),
        ({"specific": {"versions": ["1", 10, 11]}}, [1, 10]),
    ],
)
def test_the_versions_that_a_policy_chooses(tmp_path: Path, policy: Any, versions: list[int]) -> None:
    for name in ("1", "2", "10", "configs", "9" * 19):
        (tmp_path / name).mkdir()
    (tmp_path / "3").write_text("a file")
    assert expected_versions(RestoredModel("chat", tmp_path), policy) == versions
