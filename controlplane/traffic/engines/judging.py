"""Judging an engine's answer to a question: the part that engines share. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controlplane.traffic.driver import Question


def fault_of(question: Question, status: int, words: str, *, has_output: bool) -> str:
    """Return the fault of an answer, or "" for a good one. `words` are the engine's own about an error, or ""."""
    if status != question.status:
        return f"answered {status} instead of {question.status}{f': {words}' if words else ''}"
    if status != 200:
        return ""
    if words:
        return f"answered with an error: {words}"
    return "" if has_output else "answered 200 without any output"


def json_values(texts: Iterable[str]) -> list[Any]:
    """Return the JSON values of texts. Texts that are no JSON are left out."""
    found = []
    for text in texts:
        try:
            found.append(json.loads(text))
        except (ValueError, RecursionError):
            continue
    return found
