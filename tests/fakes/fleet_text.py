"""A fleet.yaml as a text, read as the file is."""

from __future__ import annotations

from pathlib import Path

from controlplane.config.document import parse_document
from controlplane.config.loader import _accepted, _read
from controlplane.config.model import Fleet


def parse_fleet(text: str, path: Path) -> Fleet:
    """Return the fleet of a text; `path` names it in errors, and its folder is where paths start."""
    return _accepted(_read(parse_document(text, path))).fleet
