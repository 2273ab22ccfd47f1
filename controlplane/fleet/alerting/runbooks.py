"""The runbooks that alerts link to. An operator on call has no checkout of the source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import AlertingRule
from controlplane.errors import NotFound
from controlplane.fleet.view import View

ROOT = Path(__file__).parents[3]
FOLDERS = (ROOT / "controlplane" / "web" / "runbooks", ROOT / "docs" / "runbooks")
"""Folders of the runbooks: in an installation, and in a checkout."""
_SECTION = re.compile(r"^## ", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_SENTENCE = re.compile(r"(?<=[.:])\s")


class Runbook(View):
    """One runbook."""

    name: str
    """Name of the alert that it is for."""
    title: str
    """Its first sentence: what the alert means."""
    pack: str
    """The built-in pack that has the alert; empty when none has."""
    severities: tuple[str, ...]
    """Severities of the alert's rules, the worst first."""


class _Packed(NamedTuple):
    pack: str
    severities: tuple[str, ...]


class Shelf:
    """All runbooks. Methods read files; they are for a thread."""

    def __init__(self, folders: Sequence[Path] = FOLDERS) -> None:
        self._folder = next((folder for folder in folders if folder.is_dir()), folders[0])

    def names(self) -> list[str]:
        """Return the names of the runbooks, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.md"))

    def text(self, name: str) -> str:
        """Return a runbook in Markdown. Raises NotFound."""
        try:
            return (self._folder / f"{name}.md").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise NotFound(f"there is no runbook {name}; /runbooks lists them") from error

    def first_section(self, name: str) -> str:
        """Return what the alert means, in Markdown without its heading. Raises NotFound."""
        parts = _SECTION.split(self.text(name))
        return parts[1].partition("\n")[2].strip() if len(parts) > 1 else ""

    def all(self) -> tuple[Runbook, ...]:
        """Return every runbook, by name."""
        packs = _packs()
        return tuple(self._runbook(name, packs.get(name, _Packed("", ()))) for name in self.names())

    def _runbook(self, name: str, packed: _Packed) -> Runbook:
        meaning = " ".join(_LINK.sub(r"\1", self.first_section(name).partition("\n\n")[0]).replace("`", "").split())
        title = _SENTENCE.split(meaning)[0]
        return Runbook(name=name, title=title, pack=packed.pack, severities=packed.severities)


@cache
def _packs() -> Mapping[str, _Packed]:
    """Return the pack and the severities of each built-in alert. They are part of the program: read once."""
    found: dict[str, _Packed] = {}
    for pack in BUILTIN:
        for group in load_pack(pack, options=EXAMPLE):
            for rule in group.rules:
                if isinstance(rule, AlertingRule):
                    severity = next((text.text for name, text in rule.labels if name == "severity"), "")
                    had = found.get(rule.alert, _Packed(pack, ())).severities
                    found[rule.alert] = _Packed(pack, tuple(dict.fromkeys((*had, severity))))
    return found
