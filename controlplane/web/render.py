"""The renderer of templates. It adds the values that every page needs: the signed-in user and the CSRF token."""

from __future__ import annotations

from collections.abc import Callable
from gettext import NullTranslations
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup

from controlplane.access.roles import Principal, Role
from controlplane.access.sessions import csrf_token
from controlplane.api.auth import SESSION_COOKIE
from controlplane.api.services import Services
from controlplane.fleet.view import instant
from controlplane.plain_text import plain_block
from controlplane.web.format import FILTERS, TESTS
from controlplane.web.languages import NAMES, language_of, translations
from controlplane.web.links import alerts_of, marks_of, part
from controlplane.web.live import wants_part
from controlplane.web.navigation import current, groups_of

THEME_COOKIE = "cp_theme"
"""Cookie with the appearance that a browser chose. Without it, the system's appearance is used."""
THEMES = ("light", "dark")


def _shown(value: Any) -> Any:
    """Return a template expression's value with unprintable characters escaped. Jinja2 escapes HTML after that."""
    return plain_block(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _values_shown(translate: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of gettext that escapes unprintable characters of its values: its result is Markup already."""

    @pass_context
    def translated(context: Context, *texts: Any, **values: Any) -> Any:
        return translate(context, *texts, **{name: _shown(value) for name, value in values.items()})

    return translated


def _word(texts: NullTranslations, word: Any, context: str) -> Any:
    """Return a word that a record holds, in the language of `texts`."""
    if not word:
        return word
    found = texts.pgettext(context, word) if context else word
    return texts.gettext(word) if found == word else found


def environment_of(templates: Path, language: str) -> Environment:
    """Return Jinja2 with autoescaping, in one language. An undefined name in a template is an error.

    A text is marked by `_("…")`, with values as `_("%(n)s of %(all)s", n=1, all=2)`; `%` alone is written `%%`. A text
    that has another meaning elsewhere is marked by `pgettext("where", "…")`. The filter `word` translates a word that a
    record holds, such as a state; `word("where")` takes the meaning that it has there, if it has its own.
    """
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
        extensions=["jinja2.ext.i18n"],
    )
    texts = translations(language)
    environment.install_gettext_translations(texts, newstyle=True)  # type: ignore[attr-defined]  # by the extension
    for name in ("gettext", "ngettext", "pgettext", "npgettext"):
        translate: Any = environment.globals[name]
        environment.globals[name] = _values_shown(translate)
    environment.filters |= FILTERS
    environment.filters["part"] = part
    environment.globals |= {"alerts_of": alerts_of, "marks_of": marks_of}
    environment.filters["word"] = lambda word, context="": _word(texts, word, context)
    environment.tests |= TESTS
    return environment


class Renderer:
    """Renders templates in the language of the browser."""

    def __init__(self, templates: Path) -> None:
        self._templates = templates
        self._environments: dict[str, Environment] = {}

    def _environment(self, language: str) -> Environment:
        """Return a language's environment. It is made when somebody first reads that language."""
        if language not in self._environments:
            self._environments[language] = environment_of(self._templates, language)
        return self._environments[language]

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a template rendered for the signed-in user."""
        services: Services = request.app.state.services
        principal: Principal | None = getattr(request.state, "principal", None)
        cookie = request.cookies.get(SESSION_COOKIE, "")
        language = language_of(request)
        theme = request.cookies.get(THEME_COOKIE, "")
        text = (
            self._environment(language)
            .get_template(template)
            .render(
                values,
                path=request.url.path,
                here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
                navigation=groups_of(principal.role) if principal else (),
                section=current(request.url.path),
                principal=principal,
                may_act=principal is not None and principal.role.includes(Role.OPERATOR),
                csrf=csrf_token(cookie) if cookie and principal else "",
                firing=getattr(request.state, "firing", None),
                language=language,
                languages=NAMES,
                only_live=wants_part(request),
                theme=theme if theme in THEMES else "",
                now=instant(services.clock.now()),
                version=services.version,
                status=status,
                observe_only=services.observe_only,
            )
        )
        return HTMLResponse(text, status)
