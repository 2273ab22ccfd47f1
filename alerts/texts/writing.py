"""Escaping of what templates print: markup in labels and annotations must not act, markup of the template must."""

from __future__ import annotations

import re
from collections.abc import Mapping

from alerts.gotemplate.execute import Plain
from alerts.gotemplate.functions import Function
from alerts.gotemplate.sprintf import go_value
from alerts.gotemplate.values import Foreign, GoValue, Own

_COMPOSING = frozenset({"print", "printf", "println", "join"})
"""Functions that put texts of the template and of alerts together. Those of alerts are escaped before."""
_ESCAPING = frozenset({"html", "urlquery"})
_HTML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "+": "&#43;", "\0": "\ufffd"}
)
_MRKDWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_URL_BEGINS = re.compile(r"""(?:href|src|action)\s*=\s*["']?$""", re.IGNORECASE)
_SCHEME = re.compile(r"^([^/?#]*?):")
_SCHEMES = ("http", "https", "mailto")
UNSAFE = "#ZgotmplZ"
"""Text that Go's html/template puts in the place of an address that could run a script."""


class Mrkdwn(Plain):
    """Slack's markup: texts that come from alerts are escaped, those of the template are not."""

    def printed(self, value: GoValue, before: str) -> str:
        """Return the text of a result."""
        return go_value(value).translate(_MRKDWN) if _is_foreign(value) else go_value(value)

    def called(self, name: str, function: Function, arguments: list[GoValue]) -> GoValue:
        """Return a function's result: foreign, if one of its arguments is. Raises TemplateError."""
        if name in _COMPOSING:
            return function(name, [_escaped(argument) for argument in arguments])
        found = function(name, arguments)
        is_foreign = isinstance(found, str) and name not in _ESCAPING and any(map(_is_foreign, arguments))
        return Foreign(found) if is_foreign else found


class _Safe(str):
    """A text that the template calls safe: `safeHtml`, `safeUrl`."""


class Html(Plain):
    """HTML: every result is escaped, as in Go's html/template, unless the template calls it safe."""

    def printed(self, value: GoValue, before: str) -> str:
        """Return the text of a result. An address with another scheme than http, https and mailto is not written."""
        text = go_value(value)
        if isinstance(value, _Safe):
            return text
        if _URL_BEGINS.search(before) and (scheme := _SCHEME.match(text)) and scheme[1].lower() not in _SCHEMES:
            return UNSAFE
        return text.translate(_HTML)

    def called(self, name: str, function: Function, arguments: list[GoValue]) -> GoValue:
        """Return a function's result. Raises TemplateError."""
        found = function(name, arguments)
        return _Safe(found) if name in ("safeHtml", "safeUrl") else found


def _is_foreign(value: GoValue) -> bool:
    return isinstance(value, Foreign | Mapping | tuple | Own)


def _escaped(value: GoValue) -> GoValue:
    if isinstance(value, tuple) and not isinstance(value, Own):
        return tuple(_escaped(one) for one in value)
    return str(go_value(value).translate(_MRKDWN)) if _is_foreign(value) else value
