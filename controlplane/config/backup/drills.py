"""The engine of drills: it must be none that serves a model of this fleet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.config.backup.section import BackupSection
from controlplane.config.checking import Fault
from controlplane.config.models import ModelSection


def drills_in_the_fleet(section: BackupSection | None, models: Sequence[ModelSection]) -> Iterator[Fault]:
    """Yield a fault for an engine of drills that serves a model, and for a scratch folder that is a Triton's."""
    drill = section.drill if section is not None and section.reads("drill") else None
    if drill is None:
        return
    url = drill.engine.triton if drill.reads("engine") and drill.engine and drill.engine.reads("triton") else ""
    scratch = drill.scratch if drill.reads("scratch") else None
    for model in models:
        if not model.reads("name", "traffic"):
            continue
        for backend in getattr(model.traffic, "backends", ()):
            if url and backend.reads("url") and _server(backend.url) == _server(url):
                words = f"serves the model {model.name}: a drill needs a Triton of its own"
                yield Fault(("backup", "drill", "engine", "triton"), words)
            folder = getattr(backend, "repository", None)
            if scratch is not None and isinstance(folder, Path) and _overlap(scratch, folder):
                words = f"and the repository of the model {model.name} contain each other: a drill needs its own folder"
                yield Fault(("backup", "drill", "scratch"), words)


def _server(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url)
    try:
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
