"""Reads and writes the JSON documents in columns. Thousands of alerts are mostly that."""

from __future__ import annotations

import json
from typing import Any

import orjson


def dumps(document: Any) -> str:
    """Return a document as JSON. It has no NaN and no infinity, which PostgreSQL refuses: they become null."""
    try:
        return orjson.dumps(document).decode()
    except TypeError:
        # Keys that are no text, integers of more than 64 bits, and half a surrogate pair: the slower encoder has them.
        return json.dumps(document)


def loads(text: str | bytes) -> Any:
    """Return the document of a column. Raises ValueError for one that is damaged."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)  # an earlier release wrote NaN, and a copy may hold half a surrogate pair
