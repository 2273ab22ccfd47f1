"""The languages of the dashboards. English is written in the boards; `CODE.po` has another language's texts.

Names in legends and columns that come from the metrics are the same in every language, as in queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from babel.messages.pofile import read_po

HERE = Path(__file__).parent
ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh")
_SHOWN = ("title", "description", "label")
"""Keys whose texts a person reads, at every depth of a dashboard."""


def texts(code: str) -> Mapping[str, str]:
    """Return the texts of a language by their English ones. English has none."""
    if code == ENGLISH:
        return {}
    with (HERE / f"{code}.po").open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file, locale=code) if message.id}


def translated(dashboard: Mapping[str, Any], say: Callable[[str], str]) -> dict[str, Any]:
    """Return a dashboard with each text that a person reads as `say` returns it."""
    return {name: _said(name, value, say) for name, value in dashboard.items()}


def _said(name: str, value: Any, say: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        if name == "renameByName":
            return {column: say(heading) for column, heading in value.items()}
        return {key: _said(key, each, say) for key, each in value.items()}
    if isinstance(value, list):
        return [_mark(each, say) if _is_mark(each) else _said("", each, say) for each in value]
    return say(value) if name in _SHOWN and isinstance(value, str) and value else value


def _is_mark(value: Any) -> bool:
    return isinstance(value, Mapping) and "titleFormat" in value


def _mark(value: Mapping[str, Any], say: Callable[[str], str]) -> dict[str, Any]:
    """Return an annotation: its name is the switch above the dashboard."""
    return {**value, "name": say(value["name"])}
