"""The fields of fleet.yaml as the reference page tells them: one source for the page and for `explain`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from controlplane.errors import NotFound

HERE = Path(__file__).parent
PAGES = (HERE / "fleet-yaml.md", HERE.parents[1] / "docs" / "reference" / "fleet-yaml.md")
"""In a wheel the page lies beside this module; in a checkout among the documents."""
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)


class Field(NamedTuple):
    """One field: its dotted path (`models[].name`), type, default and meaning, as plain text."""

    path: str
    type: str
    default: str
    """`required` has none; `none`: leaving it out is a value of its own."""
    help: str

    @property
    def plain(self) -> str:
        """The path as people write it: without brackets and placeholders."""
        return plain_path(self.path)


def fields() -> list[Field]:
    """Return every field, in the order of the page. Raises NotFound where the program is installed without it."""
    for page in PAGES:
        if page.exists():
            rows = _ROW.findall(page.read_text(encoding="utf-8"))
            return [Field(path, kind, default.strip("`"), plain_text(text)) for path, kind, default, text in rows]
    raise NotFound(f"the reference of fleet.yaml is not installed: looked at {', '.join(map(str, PAGES))}")


def plain_path(path: str) -> str:
    """Return `models[0].versions.<name>.backends[]` as `models.versions.backends`."""
    return re.sub(r"\[\w*\]|\.<\w+>", "", path)


def plain_text(markdown: str) -> str:
    """Return Markdown of a table's cell as text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("\\|", "|")
    return re.sub(r"(\*\*|`|(?<!\w)\*|\*(?!\w))", "", text).replace("&lt;", "<").strip()
