"""A dashboard as text, and how two texts differ. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any


def text_of(dashboard: Mapping[str, Any]) -> str:
    """Return a dashboard as the text of its file. Equal dashboards have equal texts."""
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def difference(old: str, new: str, old_name: str, new_name: str) -> str:
    """Return a unified diff of two texts; "" where they are equal."""
    return "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm=""))
