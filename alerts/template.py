"""Templates of labels and annotations: Go's text/template with Prometheus's functions and variables.

A template is parsed when its rule is loaded. Parsing refuses what Prometheus refuses at that moment. An error that
depends on the alert replaces the rendered text, as in Prometheus. `Template.doubts` finds most of these errors earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from alerts.errors import TemplateError
from alerts.gotemplate.execute import execute
from alerts.gotemplate.inspect import doubts, label_names
from alerts.gotemplate.nodes import Parsed
from alerts.gotemplate.parser import parse
from alerts.gotemplate.values import AlertData, Sample
from alerts.template_functions import FUNCTIONS, SITUATED, situated
from collectors.samples import Labels

VARIABLES = ("$labels", "$externalLabels", "$externalURL", "$value")
"""Variables of every template, beside `.Labels`, `.ExternalLabels`, `.ExternalURL` and `.Value`."""

MAX_QUERIES = 500
"""Maximum number of queries in the templates of a rule in one evaluation. Chosen: one for each of many hosts."""

_CACHED, _CACHED_LENGTH = 4096, 10_000
"""Number of texts that a reload does not parse again, and the length in characters of the longest of them."""

_NAMES = frozenset((*FUNCTIONS, *SITUATED))


@dataclass
class Answers:
    """Results of the queries in templates, and the queries without a result.

    Rendering is pure and never waits. It notes a query without a result in `wanted`; the caller runs that query and
    renders again.
    """

    known: dict[str, tuple[Sample, ...] | str] = field(default_factory=dict)
    """By expression: the samples, or the error of a query that failed."""
    wanted: dict[str, None] = field(default_factory=dict)

    def get(self, expr: str) -> tuple[Sample, ...]:
        """Return a query's result. Raises TemplateError when the query failed, or has no result yet."""
        answer = self.known.get(expr)
        if answer is None:
            if len(self.known) + len(self.wanted) >= MAX_QUERIES:
                raise TemplateError(f"templates of a rule may run {MAX_QUERIES} queries, {expr!r} is one more")
            self.wanted[expr] = None
            raise TemplateError(f"the query {expr!r} has no result here")
        if isinstance(answer, str):
            raise TemplateError(answer)
        return answer


@dataclass(frozen=True)
class Surroundings:
    """Values for templates beside the alert: the installation's labels and address, and the time and query results."""

    labels: Labels = ()
    """`$externalLabels`: labels that the installation adds to everything it sends."""
    url: str = ""
    """`$externalURL`: address of the installation."""
    at: float = 0.0
    """Unix second of the evaluation."""
    answers: Answers = field(default_factory=Answers, compare=False)


@lru_cache(maxsize=_CACHED)
def _parsed(text: str) -> Parsed:
    return parse(text, _NAMES, VARIABLES)


class Template:
    """One parsed template."""

    def __init__(self, text: str) -> None:
        """Parse a text. Raises TemplateError, which quotes the wrong part."""
        self.text = text
        parsed = _parsed if len(text) <= _CACHED_LENGTH else _parsed.__wrapped__
        self._parsed: Parsed | None = parsed(text) if "{{" in text else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    @property
    def is_plain(self) -> bool:
        """Whether the text has no actions and is the same for every alert."""
        return self._parsed is None

    def label_names(self) -> frozenset[str]:
        """Return the names of the alert's labels that the text uses: `{{ $labels.gpu }}` -> {"gpu"}."""
        return frozenset() if self._parsed is None else label_names(self._parsed)

    def doubts(self) -> tuple[str, ...]:
        """Return a sentence for each action that fails, or prints a Go format error, for every alert."""
        if self._parsed is None:
            return ()
        stand_ins: dict[str, Any] = {"$value": 1.5, "$externalURL": "http://localhost"}
        return doubts(self._parsed, FUNCTIONS, stand_ins)

    def render(self, labels: Mapping[str, str], value: float, around: Surroundings) -> str:
        """Return the text for one alert. Raises TemplateError when an action fails."""
        if self._parsed is None:
            return self.text
        data = AlertData(labels, dict(around.labels), around.url, float(value))
        variables = dict(zip(VARIABLES, (labels, data.ExternalLabels, around.url, data.Value), strict=True))
        return execute(self._parsed, data, variables, FUNCTIONS | situated(around.url, around.at, around.answers.get))
