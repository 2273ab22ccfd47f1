"""Writes the dashboards as JSON files. The same code writes the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dashboards.backups import backups
from dashboards.fleet import fleet
from dashboards.gpu import gpu
from dashboards.triton import triton
from dashboards.vllm import vllm


def all_dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by its file name without extension."""
    return {"fleet": fleet(), "triton": triton(), "vllm": vllm(), "gpu": gpu(), "backups": backups()}


def write_dashboards(out: Path) -> list[Path]:
    """Write one JSON file per dashboard into `out`; return the paths. Makes `out` if it is absent.

    Raises OSError when a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, dashboard in all_dashboards().items():
        path = out / f"{name}.json"
        path.write_text(json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        written.append(path)
    return written
