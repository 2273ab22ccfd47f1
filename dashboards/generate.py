"""The dashboards as files: JSON, and the file by which Grafana provisions them. Equal settings make equal bytes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from collectors.regular_file import read_regular
from dashboards.boards.alerts import alerts
from dashboards.boards.backups import backups
from dashboards.boards.control_plane import control_plane
from dashboards.boards.cost import cost
from dashboards.boards.fleet import fleet
from dashboards.boards.gateway import gateway
from dashboards.boards.gpu import gpu
from dashboards.boards.model import model
from dashboards.boards.rollout import rollout
from dashboards.boards.sglang import sglang
from dashboards.boards.tensorrt_llm import tensorrt_llm
from dashboards.boards.triton import triton
from dashboards.boards.vllm import vllm
from dashboards.languages import texts, translated
from dashboards.settings import PROVISIONED_AT, Settings
from dashboards.text import difference, text_of

BOARDS: Mapping[str, Callable[[Settings], dict[str, Any]]] = {
    "fleet": fleet,
    "model": model,
    "rollout": rollout,
    "alerts": alerts,
    "gateway": gateway,
    "cost": cost,
    "gpu": gpu,
    "triton": triton,
    "vllm": vllm,
    "sglang": sglang,
    "tensorrt-llm": tensorrt_llm,
    "backups": backups,
    "control-plane": control_plane,
}
"""Each dashboard by its file name without extension."""

_MAX_BYTES = 16 * 2**20
"""Longest file that is compared. Chosen: our largest dashboard takes 0.1 MB."""
PROVIDER = "provisioning/dashboards/controlplane.yaml"


def all_dashboards(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return every dashboard by its file name without extension."""
    said = texts(settings.language)
    found = {name: translated(board(settings), lambda text: said.get(text, text)) for name, board in BOARDS.items()}
    return {name: board | {"title": settings.titled(board["title"])} for name, board in found.items()}


def files(settings: Settings, seen_at: str = PROVISIONED_AT) -> dict[str, str]:
    """Return the texts of all files by their path in the folder. `seen_at`: the folder as Grafana sees it."""
    found = {f"{name}.json": text_of(board) for name, board in all_dashboards(settings).items()}
    return found | {PROVIDER: _provider(settings, seen_at)}


def write_dashboards(out: Path, settings: Settings, seen_at: str = PROVISIONED_AT) -> list[Path]:
    """Write all files into `out`; return their paths. Makes `out` if it is absent.

    Raises OSError when a file cannot be written.
    """
    written = []
    for name, text in files(settings, seen_at).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no regular file", str(path))  # a write to a FIFO waits for a reader
        _replace(path, text)
        written.append(path)
    return written


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: a Grafana that reads the folder meanwhile finds the old file or the new one."""
    path = path.resolve()  # a link stays a link
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, "utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def drift(out: Path, settings: Settings, seen_at: str = PROVISIONED_AT) -> dict[str, str]:
    """Return how the files in `out` differ from what would be written, as unified diffs by path. Empty: in no way.

    A file that is missing differs whole. Other files in the folder are not looked at. Raises OSError when a file
    cannot be read.
    """
    found = {}
    for name, text in files(settings, seen_at).items():
        path = out / name
        there = read_regular(path, _MAX_BYTES).decode(errors="replace") if path.exists() else ""
        if there != text:
            found[str(path)] = difference(there, text, str(path), "generated")
    return found


def _provider(settings: Settings, seen_at: str) -> str:
    """Return Grafana's provider of dashboards. JSON is YAML, so that a folder with odd characters stays one string.

    Grafana replaces `$NAME` in these files by a variable of its environment; `$$` is a `$`.
    """
    name = f"controlplane-{settings.own_set}" if settings.own_set else "controlplane"
    return f"""# Written by `controlplane dashboards generate`, for Grafana's folder provisioning/dashboards.
apiVersion: 1
providers:
  - name: {name}
    folder: {settings.folder_title}
    folderUid: {settings.folder_uid}
    type: file
    allowUiUpdates: false
    options: {{path: {json.dumps(seen_at.replace("$", "$$"))}}}
"""
