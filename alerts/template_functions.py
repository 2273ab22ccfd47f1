"""The template functions that Prometheus adds to Go's: queries and their results, numbers, texts, links.

Source: template/template.go and docs/configuration/template_reference.md of Prometheus.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from urllib.parse import quote_plus, urlsplit

from alerts.errors import TemplateError
from alerts.gotemplate import goformat
from alerts.gotemplate.functions import GO_FUNCTIONS, Function
from alerts.gotemplate.values import Duration, GoValue, Sample, Time, described
from collectors.durations import parse_duration
from promql.errors import PatternError
from promql.regex import replace_all, search

MAX_NANOSECONDS = 2**63
"""Limit of Go's times and durations, in nanoseconds."""

# Word boundaries of Unicode (UAX 29), as in golang.org/x/text/cases: a point, colon or apostrophe inside a word is part
# of it.
_MIDDLE = r".:'\u00b7\u0387\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
_WORD = re.compile(rf"\w(?:[\w\u00ad\u0300-\u036f\u200c\u200d]|[{_MIDDLE}](?=\w))*")


def number(value: GoValue) -> float:
    """Return a number, a numeric text, or the seconds of a duration as a float.

    Raises TemplateError for another type, and ValueError for a text that is not numeric.
    """
    if isinstance(value, Duration):
        return value.nanoseconds / 1e9
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TemplateError(f"{described(value)} is not a number")
    return goformat.as_number(value)


def _numeric(write: Callable[[float], str]) -> Function:
    return Function(lambda value: write(number(value)))


def _nanoseconds(value: GoValue) -> int:
    seconds = number(value)
    if not abs(seconds) * 1e9 < MAX_NANOSECONDS:
        raise TemplateError(f"{goformat.go_float(seconds)} seconds are too many for a time")
    return int(seconds * 1e9)


def _to_time(value: GoValue) -> Time:
    return Time(_nanoseconds(value) // 1_000_000 * 1_000_000)


def _humanize_timestamp(value: GoValue) -> GoValue:
    seconds = number(value)
    return _to_time(seconds) if math.isfinite(seconds) else goformat.go_float(seconds)


def _first(samples: tuple[Sample, ...]) -> Sample:
    if not samples:
        raise TemplateError("the list of samples is empty")
    return samples[0]


def _match(pattern: str, text: str) -> bool:
    try:
        return search(pattern, text)
    except PatternError as error:
        raise TemplateError(str(error)) from error


def _replace_all(pattern: str, replacement: str, text: str) -> str:
    try:
        return replace_all(pattern, replacement, text)
    except PatternError as error:
        raise TemplateError(str(error)) from error


def _split_host_port(address: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^\[\]:]*)):([^:]*)", address)
    return (match[1] if match[2] is None else match[2], match[3]) if match else None


def _strip_port(address: str) -> str:
    parts = _split_host_port(address)
    return address if parts is None else parts[0]


def _strip_domain(address: str) -> str:
    host, port = _split_host_port(address) or (address, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = host.split(".")[0]
        return f"{name}:{port}" if port else name
    return address


def _link(tab: int) -> Function:
    return Function(lambda expr: f"/graph?g0.expr={quote_plus(expr)}&g0.tab={tab}", ("text",))


def _titled(word: str) -> str:
    """Return a word with its first letter in title case, as Prometheus 3 does (2.x split words at ASCII only)."""
    for at, letter in enumerate(word):
        if letter.islower() or letter.isupper() or letter.istitle():
            return word[:at] + letter.title() + word[at + 1 :]
    return word


FUNCTIONS: dict[str, Function] = {
    **GO_FUNCTIONS,
    "first": Function(_first, ("samples",)),
    "label": Function(lambda name, sample: sample.Labels.get(name, ""), ("text", "sample")),
    "value": Function(lambda sample: sample.Value, ("sample",)),
    "strvalue": Function(lambda sample: sample.Labels.get("__value__", ""), ("sample",)),
    "sortByLabel": Function(
        lambda name, samples: tuple(sorted(samples, key=lambda s: s.Labels.get(name, ""))), ("text", "samples")
    ),
    "args": Function(lambda *values: {f"arg{n}": value for n, value in enumerate(values)}, (), more="any"),
    "humanize": _numeric(goformat.humanize),
    "humanize1024": _numeric(goformat.humanize1024),
    "humanizeDuration": _numeric(goformat.humanize_duration),
    "humanizePercentage": _numeric(goformat.humanize_percentage),
    "humanizeTimestamp": Function(_humanize_timestamp),
    "toTime": Function(_to_time),
    "toDuration": Function(lambda value: Duration(_nanoseconds(value))),
    "parseDuration": Function(lambda text: float(parse_duration(text)), ("text",)),
    "title": Function(lambda text: _WORD.sub(lambda word: _titled(word[0]), text), ("text",)),
    "toUpper": Function(lambda text: text.upper(), ("text",)),
    "toLower": Function(lambda text: text.lower(), ("text",)),
    "stripPort": Function(_strip_port, ("text",)),
    "stripDomain": Function(_strip_domain, ("text",)),
    "match": Function(_match, ("text", "text")),
    "reReplaceAll": Function(_replace_all, ("text", "text", "text")),
    "graphLink": _link(0),
    "tableLink": _link(1),
    "safeHtml": Function(lambda text: text, ("text",)),
    "urlQueryEscape": Function(quote_plus, ("text",)),
}
"""Functions whose result depends only on their arguments."""

SITUATED = ("query", "externalURL", "pathPrefix", "now", "tmpl")
"""Functions whose result depends on the installation, the time or the template."""


def situated(url: str, at: float, query: Callable[[str], tuple[Sample, ...]]) -> dict[str, Function]:
    """Return the functions of SITUATED except `tmpl`, for the installation's `url` and the evaluation's unix second."""
    return {
        "query": Function(query, ("text",)),
        "externalURL": Function(lambda: url, ()),
        "pathPrefix": Function(lambda: urlsplit(url).path, ()),
        "now": Function(lambda: at, ()),
    }
