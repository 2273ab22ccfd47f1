"""The dashboards in another language: every text is translated, and nothing but texts differs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from controlplane.cli.verbs.dashboards import DASHBOARDS
from dashboards.generate import all_dashboards
from dashboards.languages import ENGLISH, LANGUAGES, texts, translated
from tests.unit.dashboards.test_dashboards import SETTINGS


def shown(boards: Iterable[dict[str, Any]]) -> set[str]:
    """Return all texts of dashboards that a person reads."""
    found: set[str] = set()

    def noted(text: str) -> str:
        found.add(text)
        return text

    for board in boards:
        translated(board, noted)
    return found


def test_every_text_is_in_every_language_and_no_other() -> None:
    english = shown(all_dashboards(SETTINGS).values())
    for code in set(LANGUAGES) - {ENGLISH}:
        assert set(texts(code)) == english


def test_a_translation_keeps_names_and_has_letters_of_its_language() -> None:
    for english, chinese in texts("zh").items():
        kept = set(re.findall(r"`[^`]+`|[A-Za-z]+_[A-Za-z_]+|\b(?:[A-Z]+[a-z0-9]+){3,}\b", english))
        assert all(name in chinese for name in kept), english
        assert not english.endswith(".") or re.search("[\u4e00-\u9fff]", chinese), english
        assert english.endswith(".") == chinese.endswith("。"), english


def test_a_dashboard_in_chinese_differs_in_its_texts_alone() -> None:
    chinese = all_dashboards(replace(SETTINGS, language="zh", own_set="north"))
    english = all_dashboards(replace(SETTINGS, own_set="north"))
    assert chinese["fleet"]["title"] == "LLM 集群 (north)"
    assert [m["name"] for m in chinese["fleet"]["annotations"]["list"]] == ["告警", "发布"]
    said = texts("zh")
    for name, board in english.items():
        plain = board | {"title": board["title"].removesuffix(" (north)")}
        expected = translated(plain, lambda text: said[text])
        assert chinese[name] | {"title": expected["title"]} == expected
    assert {o.name: o.choices for o in DASHBOARDS[0].options}["language"] == LANGUAGES
