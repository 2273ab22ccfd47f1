"""Values in the JSON of a source of addresses, none of which is trusted, and labels made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return labels of a mapping: a prefix and each name, in which other characters than a label's become `_`."""
    return {prefix + _NOT_IN_A_NAME.sub("_", name): plain(str(value)) for name, value in values.items()}


def map_at(value: Any, key: str | None = None) -> dict[str, Any]:
    """Return a mapping, or the one at a key of it; an empty one for a value of another form."""
    inner = value if key is None else map_at(value).get(key)
    return inner if isinstance(inner, dict) else {}


def list_at(value: Any, key: str) -> list[Any]:
    """Return the list at a key of a mapping; an empty one for a value of another form."""
    inner = map_at(value).get(key)
    return inner if isinstance(inner, list) else []


def text_at(value: Any, key: str) -> str:
    """Return the text at a key of a mapping; "" for a value of another form."""
    inner = map_at(value).get(key)
    return plain(inner) if isinstance(inner, str) else ""


def number_at(value: Any, key: str) -> int:
    """Return the whole number at a key of a mapping; 0 for a value of another form."""
    inner = map_at(value).get(key)
    return inner if isinstance(inner, int) else 0


def plain(text: str) -> str:
    """Return a text with a space for each character that a database, header or terminal may not accept."""
    return _CONTROL.sub(" ", text)
