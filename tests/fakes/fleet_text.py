"""A fleet.yaml from a text, read like a file."""

from __future__ import annotations

from pathlib import Path

from controlplane.config.document import parse_document
from controlplane.config.loader import _accepted, _read
from controlplane.config.model import Fleet


def parse_fleet(text: str, path: Path) -> Fleet:
    """Return the fleet of a text. Errors name `path`, and relative paths start at its folder."""
    return _accepted(_read(parse_document(text, path))).fleet
