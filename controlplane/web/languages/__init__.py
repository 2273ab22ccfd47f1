"""The languages of the console. English is written in the templates; `CODE/*.po` has every other language's texts.

Sentences that come from the control plane's records, such as a rollout's history or an alert's summary, are English in
every language: they are the same in the audit trail, in Slack and on the command line.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from babel.core import UnknownLocaleError, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from fastapi import Request

HERE = Path(__file__).parent
ENGLISH = "en"
NAMES = {ENGLISH: "English", "zh": "中文"}
"""Name of each language in itself, by its code."""
COOKIE = "cp_language"
"""Cookie with the code that a browser chose. Its header Accept-Language decides without it."""


def noted(text: str, context: str = "") -> str:
    """Return a text that a template translates later, by `word` or by `word(context)`.

    `context` names a meaning that the text has only there. The test of the catalogues finds both by this call.
    """
    return text


def catalogue(code: str) -> Catalog:
    """Read all files of a language. Raises ValueError for a text that is in two files with the same context."""
    whole = Catalog(locale=code)
    for path in sorted((HERE / code).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=code):
                if message.id and whole.get(message.id, message.context):
                    raise ValueError(f"{path.name}: {message.id!r} is in another file of {code} too; keep one of them")
                if message.id:
                    whole[message.id] = message
    return whole


def translations(code: str) -> gettext.NullTranslations:
    """Return the texts of a language. English has none: a text translates to itself."""
    if code == ENGLISH:
        return gettext.NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, catalogue(code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def chosen(cookies: Mapping[str, str], accepted: str) -> str:
    """Return the language's code for a browser: its choice, else the best of its header Accept-Language."""
    code = cookies.get(COOKIE, "")
    if code in NAMES:
        return code
    try:
        return negotiate_locale(_preferred(accepted), list(NAMES), sep="-") or ENGLISH
    except UnknownLocaleError:
        return ENGLISH


def language_of(request: Request) -> str:
    """Return the code of the language in which a browser gets its page."""
    return chosen(request.cookies, request.headers.get("Accept-Language", ""))


def _preferred(accepted: str) -> list[str]:
    """Return the codes of a header Accept-Language, the best first: `zh-CN,zh;q=0.9,en;q=0.8`."""

    def weighted() -> Iterable[tuple[float, str]]:
        for part in accepted[:200].lower().split(","):  # codes are the same in either case: `EN-us` is English
            code, _, quality = part.strip().partition(";q=")
            try:
                yield -float(quality or 1), code.strip()
            except ValueError:
                continue

    return [code for weight, code in sorted(weighted(), key=lambda found: found[0]) if weight < 0 and code]
