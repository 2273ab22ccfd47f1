"""Checks of a version directory in a local model repository before Triton gets the order to load it.

A missing file costs more than a failed load: Triton's python backend then loads for ever, and every later load of the
model waits for it (docs/adr/0003-triton-switch.md).
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, NamedTuple

_FILES = {
    "python": "model.py",
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
    "pytorch": "model.pt",
    "openvino": "model.xml",
    "dali": "model.dali",
    "vllm": "model.json",
}
"""The file that each backend loads from a version directory, unless default_model_filename names another one (Triton's
docs/user_guide/model_repository.md). Other backends also read elsewhere: for them an empty directory proves nothing."""
_PLATFORMS = {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt", "pytorch_libtorch": "pytorch"}
_IGNORED = ("__pycache__",)
"""Directories that are not part of a model: a loaded version wrote them."""


class Look(NamedTuple):
    """The result of checking a version directory. Each field is a sentence or ""."""

    fault: str = ""
    """Why the version cannot be loaded, and the cure."""
    doubt: str = ""
    """The part that could not be checked."""


def look(folder: Path, config: dict[str, Any]) -> Look:
    """Check a version directory that is to be loaded with the model configuration `config`. Blocking."""
    wanted = _wanted(config)
    try:
        if not folder.is_dir():
            what = "is not a directory" if folder.exists() else "does not exist"
            return Look(f"version directory {folder} {what}: Triton would answer 200 and load nothing")
        names = sorted(entry.name for entry in folder.iterdir() if not _hidden(entry.name))
        if wanted and wanted not in names:
            what = f"holds no {wanted} (it has {_some(names)})" if names else f"is empty: it lacks {wanted}"
            return Look(f"version directory {folder} {what}; put the version's files there and promote again")
        if wanted and not (folder / wanted).stat().st_mode & (stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH):
            return Look(f"{folder / wanted} is not readable by any user; `chmod a+r` it and promote again")
        if not wanted and not names:
            return Look(
                doubt=f"version directory {folder} is empty; some backends need no files there, others cannot load it"
            )
    except OSError as error:
        # Triton may run as another user that can read the directory: this failure proves nothing.
        words = f"version directory {folder} cannot be listed ({error.strerror}): its files are unknown"
        return Look(doubt=words)
    return Look()


def _wanted(config: dict[str, Any]) -> str:
    """Return the file that the model's backend loads from a version directory; "" when it is unknown."""
    backend = config.get("backend") or _PLATFORMS.get(config.get("platform", ""), "")
    if config.get("runtime"):  # a backend written in Python: its model.py may be elsewhere
        return ""
    files = config.get("cc_model_filenames")
    return "" if files or backend not in _FILES else config.get("default_model_filename") or _FILES[backend]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
