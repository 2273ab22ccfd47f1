"""Every text of the console is in every language, and a browser gets the one that it asks for."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import controlplane.web.render as rendering
from controlplane.access.roles import Role
from controlplane.web.languages import ENGLISH, NAMES, catalogue, chosen, translations
from controlplane.web.render import environment_of

WEB = Path(rendering.__file__).parent
TEMPLATES = WEB / "templates"
OTHERS = [code for code in NAMES if code != ENGLISH]
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}|<[^>]+>")


Text = tuple[str, str]
"""The context of a text, "" for none, and the text."""


def texts() -> dict[Text, str]:
    """Return each text that is translated, and the file that has it."""
    found: dict[Text, str] = {}
    environment = environment_of(TEMPLATES, ENGLISH)
    for path in TEMPLATES.rglob("*.html"):
        for _, function, message in environment.extract_translations(path.read_text()):  # type: ignore[attr-defined]
            parts = [message] if isinstance(message, str) else [part for part in message or () if part]
            context = parts.pop(0) if function == "pgettext" else ""
            found |= {(context, text): str(path.relative_to(WEB)) for text in parts}
    for path in WEB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "noted"):
                given = [one.value for one in node.args if isinstance(one, ast.Constant)]
                assert given and len(given) == len(node.args), (path, node.lineno)
                text, context = (*map(str, given), "")[:2]
                found[context, text] = str(path.relative_to(WEB))
    return found


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalogue_has_every_text_and_no_other(code: str) -> None:
    wanted, known = texts(), catalogue(code)
    translated = {(message.context or "", str(message.id)) for message in known if message.id and message.string}
    missing = {text: file for text, file in wanted.items() if text not in translated}
    assert missing == {}, f"add these to a file of controlplane/web/languages/{code}/"
    assert translated - set(wanted) == set(), f"no template has these: delete them in languages/{code}/"


def placeholders(text: object) -> list[str]:
    return sorted(PLACEHOLDER.findall(str(text)))


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_has_the_values_and_tags_of_the_text(code: str) -> None:
    wrong = {
        message.id: message.string
        for message in catalogue(code)
        if message.id and placeholders(message.id) != placeholders(message.string)
    }
    assert wrong == {}


def test_a_text_in_two_files_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zh").mkdir()
    for name in ("a", "b"):
        (tmp_path / "zh" / f"{name}.po").write_text('msgid "Fleet"\nmsgstr "集群"\n')
    monkeypatch.setattr("controlplane.web.languages.HERE", tmp_path)
    with pytest.raises(ValueError, match=r"b\.po: 'Fleet' is in another file of zh too; keep one of them"):
        catalogue("zh")


@pytest.mark.parametrize(
    ("accepted", "code"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.5", "en"),
        ("fr-FR,zh;q=0.4", "zh"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=0", "en"),
        ("zh;q=much,*", "en"),
        ("x" * 100_000, "en"),
        ("ZH-cn", "zh"),
        ("EN-US,ZH;Q=0.9", "en"),
    ],
)
def test_a_browser_gets_its_best_language(accepted: str, code: str) -> None:
    assert chosen({}, accepted) == code


def test_the_choice_of_a_person_comes_before_the_browsers_own() -> None:
    assert chosen({"cp_language": "zh"}, "en") == "zh"
    assert chosen({"cp_language": "../zh"}, "en") == "en"


@pytest.mark.parametrize(
    ("context", "text", "usual", "own"),
    [
        ("page", "Next", "下一步", "下一页"),
        ("who started it", "By", "创建者", "发起人"),
        ("time", "From", "来自", "起始"),
        ("gateway", "left", "剩余", "已离开"),
        ("silence", "pending", "待触发", "未开始"),
        ("count", "runs", "进行中", "运行次数"),
        ("money", "spent", "已耗尽", "已花费"),
        ("calendar", "Job", "作业", "任务"),
    ],
)
def test_a_text_with_two_meanings_has_two_translations(context: str, text: str, usual: str, own: str) -> None:
    chinese, english = environment_of(TEMPLATES, "zh"), environment_of(TEMPLATES, ENGLISH)
    template = "{{ _(text) }} {{ pgettext(context, text) }} {{ text | word }} {{ text | word(context) }}"
    values = {"context": context, "text": text}
    assert chinese.from_string(template).render(values) == f"{usual} {own} {usual} {own}"
    assert english.from_string(template).render(values) == " ".join([text] * 4)


def test_a_word_without_a_meaning_of_its_own_has_its_usual_one() -> None:
    template = environment_of(TEMPLATES, "zh").from_string("{{ word | word('silence') }}")
    assert [template.render(word=word) for word in ("expired", "nonsense", "")] == ["已过期", "nonsense", ""]


def test_values_of_a_text_with_a_context_are_escaped() -> None:
    template = environment_of(TEMPLATES, "zh").from_string('{{ pgettext("rule", "for %(time)s", time=time) }}')
    assert template.render(time="<b>\x1b") == "需持续 &lt;b&gt;\\x1b"


async def test_a_page_in_chinese_takes_the_meaning_of_the_place(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        browser.client.cookies.set("cp_language", "zh")
        page = await browser.page("/silences")
    assert ">未开始 " in page and "待触发" not in page


def test_english_is_the_text_itself() -> None:
    assert translations(ENGLISH).gettext("Fleet") == "Fleet"
    assert translations("zh").gettext("Fleet") != "Fleet"


async def test_a_page_is_in_the_language_and_appearance_of_the_browser(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/")
        assert '<html lang="en">' in page
        browser.client.cookies.set("cp_language", "zh")
        browser.client.cookies.set("cp_theme", "dark")
        page = await browser.page("/")
        assert '<html lang="zh" data-theme="dark">' in page
        assert translations("zh").gettext("Sign out") in page
        browser.client.cookies.set("cp_theme", '"><script>')
        assert '<html lang="zh">' in await browser.page("/")
