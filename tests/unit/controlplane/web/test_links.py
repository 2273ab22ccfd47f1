"""Addresses that hold names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import controlplane.web
from controlplane.web.links import alerts_of, marks_of, part

TEMPLATES = Path(controlplane.web.__file__).parent / "templates"
MADE = ("fingerprint", "id", "token_id", "rollout", "ref", "number", "page", "here", "path", "address", "href")
"""Last names of expressions whose text this program makes: none of its characters breaks an address."""


@pytest.mark.parametrize(
    ("name", "encoded"), [("a/b", "a%2Fb"), ('q"', "q%22"), ("a&b#c?", "a%26b%23c%3F"), ("\u6a21", "%E6%A8%A1")]
)
def test_a_name_is_one_part_of_a_path(name: str, encoded: str) -> None:
    assert part(name) == encoded


def test_a_name_of_alerts_is_quoted_as_a_matcher_and_encoded() -> None:
    assert alerts_of("model", 'a"&b', "all") == "/alerts?state=all&label=model%3D%22a%5C%22%26b%22"


def test_no_template_puts_a_name_into_an_address_as_it_is() -> None:
    bare = []
    for template in sorted(TEMPLATES.rglob("*.html")):
        text = template.read_text()
        for address in re.findall(r'(?:href|action|hx-get|hx-post|src|data-marks)="(/[^"]*\{\{.*?)">?', text):
            bare += [(template.name, one) for one in re.findall(r"\{\{ ([\w.]+) \}\}", address) if not _made(one)]
        for one in re.findall(r'"/[a-z]+/" ~ ([\w.]+)(?! \| part|[\w.])', text):
            bare += [] if _made(one) else [(template.name, one)]
    assert bare == []


def _made(expression: str) -> bool:
    return expression.rpartition(".")[2] in MADE or expression in SHORT


SHORT = ("name", "sheet", "word", "s.icon")
"""Words of this program's own lists: tabs, style sheets, levels, icons."""


def test_the_marks_of_charts_are_the_alerts_of_one_model() -> None:
    assert marks_of("model", "chat") == "/cp/v1/alerts?state=all&label=model%3D%22chat%22"
    for template in ("models/model.html", "models/rollout.html"):
        assert "/cp/v1/alerts" not in (TEMPLATES / template).read_text(), "without a filter others push its alerts out"
