"""Paths of the inference protocol v2 (Triton, KServe): the model and its version are segments."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

_PATH = re.compile(
    rb"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|generate|generate_stream|ready|config|stats))?"
)


class TritonPath(NamedTuple):
    """The parts of a path. `version` and `verb` are "" when the path has none."""

    model: str
    version: str
    verb: str


def split(path: bytes) -> TritonPath | None:
    """Return the parts of a path, decoded, or None when it is not one of a model."""
    matched = _PATH.fullmatch(path)
    if matched is None:
        return None
    return TritonPath(*(unquote((group or b"").decode("latin-1"), errors="replace") for group in matched.groups()))


def join(parts: TritonPath) -> bytes:
    """Return the path of a model, encoded. `/` in a name is encoded too: it never makes another path."""
    version = f"/versions/{quote(parts.version, safe='')}" if parts.version else ""
    verb = f"/{parts.verb}" if parts.verb else ""
    return f"/v2/models/{quote(parts.model, safe='')}{version}{verb}".encode()
