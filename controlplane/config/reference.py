"""Reads the fields of fleet.yaml from the reference page, so that `explain` and the page have the same texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from controlplane.errors import NotFound

HERE = Path(__file__).parent
PAGES = (HERE / "fleet-yaml.md", HERE.parents[1] / "docs" / "reference" / "fleet-yaml.md")
"""Paths of the page: beside this module in a wheel, or in the documents of a checkout."""
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)


class Field(NamedTuple):
    """One field: its dotted path (`models[].name`), type, default and meaning, as plain text."""

    path: str
    type: str
    default: str
    """`required`: the field has no default. `none`: leaving it out has a meaning of its own."""
    help: str

    @property
    def plain(self) -> str:
        """The path without brackets and placeholders: `models[].name` -> `models.name`."""
        return plain_path(self.path)


def fields() -> list[Field]:
    """Return every field, in the order of the page. Raises NotFound when the page is not installed."""
    for page in PAGES:
        if page.exists():
            rows = _ROW.findall(page.read_text(encoding="utf-8"))
            return [Field(path, kind, default.strip("`"), plain_text(text)) for path, kind, default, text in rows]
    raise NotFound(f"the reference of fleet.yaml is not installed: looked at {', '.join(map(str, PAGES))}")


def plain_path(path: str) -> str:
    """Return `models[0].versions.<name>.backends[]` as `models.versions.backends`."""
    return re.sub(r"\[\w*\]|\.<\w+>", "", path)


def plain_text(markdown: str) -> str:
    """Return the Markdown of a table's cell as plain text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("\\|", "|")
    return re.sub(r"(\*\*|`|(?<!\w)\*|\*(?!\w))", "", text).replace("&lt;", "<").strip()
