"""`files:` of models and versions: which paths they name, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.config.loader import load_fleet
from controlplane.config.models import ModelSection
from controlplane.config.rollout.files import FilesPattern
from controlplane.errors import ConfigErrors

BACKEND = {"url": "http://a:1", "engine": "vllm"}
FLEET = """
fleet: {name: prod}
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    %s
    versions:
      v1: {backends: [{url: "http://a:1", engine: vllm}]}
      fast: {backends: [{url: "http://b:1", engine: vllm}]%s}
"""


def triton(*repositories: str | None, **fields: Any) -> ModelSection:
    backends = [
        {"url": f"http://t{number}:8000", **({"repository": path} if path else {})}
        for number, path in enumerate(repositories)
    ]
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "triton", "model": "llama", "backends": backends},
            "versions": {"v1": {}, "v2": {"files": "/elsewhere/2"}},
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("pattern", "version", "path"),
    [
        ("/models/chat/{version}", "v2", "/models/chat/v2"),
        ("/models/chat/{number}", "v2", "/models/chat/2"),
        ("/models/chat-{version}/files", "v2", "/models/chat-v2/files"),
        ("/models/{version}.gguf", "fast", "/models/fast.gguf"),
    ],
)
def test_a_pattern_and_a_path_lead_to_each_other(pattern: str, version: str, path: str) -> None:
    assert FilesPattern(pattern).path(version) == Path(path)
    assert FilesPattern(pattern).version(Path(path)) == version


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/models/chat/{number}", "/models/chat/02"),
        ("/models/chat/{number}", "/models/chat/v2"),
        ("/models/chat/{number}", "/models/chat/2/model.onnx"),
        ("/models/chat/{version}", "/models/chat/a b"),
        ("/models/chat/{version}", "/models/chat"),
        ("/m.dels/{version}", "/models/v1"),
    ],
)
def test_other_paths_are_no_version(pattern: str, path: str) -> None:
    assert FilesPattern(pattern).version(Path(path)) is None


def test_a_version_without_a_number_has_no_numbered_path() -> None:
    assert FilesPattern("/models/{number}").path("fast") is None


def test_repositories_of_triton_name_the_folders_of_its_versions() -> None:
    section = triton("/a", None, "/b", "/a", files="repository")
    assert section.file_places("v1") == (Path("/a/llama/1"), Path("/b/llama/1"))
    assert section.file_places("v2") == (Path("/elsewhere/2"),)
    assert section.file_places("v3") == (Path("/a/llama/3"), Path("/b/llama/3"))


def test_without_files_only_versions_that_name_theirs_have_places() -> None:
    section = triton("/a")
    assert (section.file_places("v1"), section.file_places("v2")) == ((), (Path("/elsewhere/2"),))


def faults(tmp_path: Path, files: str, version: str = "") -> list[str]:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET % (f"files: {files}" if files else "", version))
    with pytest.raises(ConfigErrors) as refused:
        load_fleet(path)
    return [f"{error.line}: {error.field}: {error.reason}" for error in refused.value.errors]


ONCE = "expected {version} or {number} once, such as /models/chat/{version}, and no other braces"


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ('"models/{version}"', "expected an absolute path with {version} or {number} in it, or the word repository"),
        ("/models/chat", ONCE),
        ('"/models/{version}/{number}"', ONCE),
        ('"/models/{name}/{version}"', ONCE),
        ('"/models/../{version}"', "expected a path without . and .. parts"),
        ("repository", "repository needs a backend with repository: under traffic, which driver triton has"),
    ],
)
def test_a_wrong_pattern_is_named_with_its_line(tmp_path: Path, files: str, fault: str) -> None:
    assert faults(tmp_path, files) == [f"7: models[0].files: {fault}"]


def test_a_version_without_a_number_is_named(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '"/models/{number}"')
    assert fault == (
        "10: models[0].versions.fast: has no number for files: /models/{number}; name it v1, v2 and so on, or set "
        "files: here"
    )


def test_a_path_of_a_version_is_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET % ('files: "/models/{number}"', ", files: fast"))
    (model,) = load_fleet(path).fleet.models
    assert model.file_places("fast") == (tmp_path / "fast",)
    assert model.file_places("v1") == (Path("/models/1"),)
