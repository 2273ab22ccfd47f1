"""A translated page has the structure of its original: headings, code, lists and links, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAIRS = [
    (path.with_name(path.name.replace(".zh-CN.md", ".md")), path)
    for path in sorted([*ROOT.glob("*.zh-CN.md"), *(ROOT / "docs").rglob("*.zh-CN.md")])
]
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def structure(page: Path) -> list[str]:
    """Return what a page and its translation have in common, in order: code whole, other parts by kind."""
    text = page.read_text(encoding="utf-8")
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for part in parts:
        if CODE.fullmatch(part):
            found.append(part)
            continue
        for line in part.splitlines():
            if heading := re.match(r"#+", line):
                found.append(heading[0])
            elif line.startswith("- "):
                found.append("-")
        found += sorted(_targets(part))
        found += sorted(re.findall(r"`([^`\n]+)`", part))
    return found


def _targets(prose: str) -> list[str]:
    """Return where a part's links lead; a translation's own anchors and translated pages count as the original's."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    return ["#" if link.startswith("#") else link.replace(".zh-CN.md", ".md") for link in links]


@pytest.mark.parametrize(("original", "translated"), PAIRS, ids=[pair[1].name for pair in PAIRS])
def test_a_translation_keeps_step_with_its_original(original: Path, translated: Path) -> None:
    assert structure(translated) == structure(original)


def test_the_pages_that_newcomers_read_first_are_translated() -> None:
    names = {translated.relative_to(ROOT).as_posix() for _, translated in PAIRS}
    assert names == {"README.zh-CN.md", "docs/guide/getting-started.zh-CN.md"}


def test_each_page_leads_to_its_translation_and_back() -> None:
    for original, translated in PAIRS:
        assert f"]({translated.name})" in original.read_text(encoding="utf-8")
        assert f"[English]({original.name})" in translated.read_text(encoding="utf-8")
