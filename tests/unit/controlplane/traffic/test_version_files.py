"""A look into version directories: what is a fault, what is only a doubt, and what is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.traffic.triton.version_files import Look, look

PYTHON = {"backend": "python"}


@pytest.mark.parametrize(
    ("files", "config", "fault"),
    [
        ([], PYTHON, "is empty: it lacks model.py; put the version's files there and promote again"),
        (["__pycache__/", ".gitkeep"], PYTHON, "is empty: it lacks model.py"),
        (["weights.bin"], PYTHON, "holds no model.py (it has weights.bin)"),
        (["a", "b", "c", "d", "e", "f"], PYTHON, "holds no model.py (it has a, b, c, d, e and 1 more)"),
        (["model.py"], {"backend": "onnxruntime"}, "holds no model.onnx (it has model.py)"),
        (["model.py"], {"platform": "tensorrt_plan"}, "holds no model.plan"),
        (["model.py"], {**PYTHON, "default_model_filename": "mine.py"}, "holds no mine.py"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, files: list[str], config: dict[str, Any], fault: str) -> None:
    write(tmp_path, files)
    found = look(tmp_path, config)
    assert found.fault.startswith(f"version directory {tmp_path} {fault}")
    assert found.doubt == ""


@pytest.mark.parametrize(
    ("files", "config"),
    [
        (["model.py"], PYTHON),
        (["model.onnx/"], {"backend": "onnxruntime"}),
        (["anything"], {"backend": "tensorrtllm"}),
        (["x"], {"backend": "onnxruntime", "cc_model_filenames": {"8.0": "x"}}),
        (["x"], {"backend": "python", "runtime": "model.py"}),
    ],
)
def test_what_looks_loadable(tmp_path: Path, files: list[str], config: dict[str, Any]) -> None:
    write(tmp_path, files)
    assert look(tmp_path, config) == Look()


def test_an_empty_directory_of_a_backend_that_may_want_it_so_is_a_doubt(tmp_path: Path) -> None:
    found = look(tmp_path, {"backend": "tensorrtllm"})
    assert found == Look(
        doubt=f"version directory {tmp_path} is empty; some backends need no files there, others cannot load it"
    )


def test_a_directory_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    (tmp_path / "2").touch()
    assert look(tmp_path / "1", PYTHON).fault.startswith(f"version directory {tmp_path}/1 does not exist: Triton would")
    assert "is not a directory" in look(tmp_path / "2", PYTHON).fault


def test_a_file_that_nobody_may_read(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch(mode=0o000)
    (tmp_path / "model.py").chmod(0o000)
    assert look(tmp_path, PYTHON).fault == (
        f"{tmp_path}/model.py is not readable by any user; `chmod a+r` it and promote again"
    )


def test_a_directory_that_this_user_may_not_look_into_is_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may look into everything, so the refusal is made here."""

    def refused(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    assert look(tmp_path, PYTHON) == Look(
        doubt=f"version directory {tmp_path} cannot be listed (Permission denied): its files are unknown"
    )


def write(folder: Path, files: list[str]) -> None:
    for name in files:
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).touch()
