"""Templates of labels and annotations: Go's text/template with Prometheus's functions and variables.

They are parsed when a rule is loaded, and refused then for what Prometheus refuses at that moment. What only an alert
can show to be wrong is said in the rendered text's place, as in Prometheus; `Template.doubts` finds most of it before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
"""Variables that every template knows, beside `.Labels`, `.ExternalLabels`, `.ExternalURL` and `.Value`."""

MAX_QUERIES = 100
"""Queries that the templates of a rule may ask in one evaluation."""

_NAMES = frozenset((*FUNCTIONS, *SITUATED))


@dataclass
class Answers:
    """Results of the queries that templates ask, and those that are still to be asked.

    Rendering is a pure step that waits for nothing: a query without an answer is noted, whoever renders asks it, and
    renders again.
    """

    known: dict[str, tuple[Sample, ...] | str] = field(default_factory=dict)
    """By expression: the samples, or why there are none."""
    wanted: dict[str, None] = field(default_factory=dict)

    def get(self, expr: str) -> tuple[Sample, ...]:
        """Return a query's result. Raises TemplateError where it failed, or is not there yet."""
        answer = self.known.get(expr)
        if answer is None:
            if len(self.known) + len(self.wanted) >= MAX_QUERIES:
                raise TemplateError(f"templates of a rule may ask {MAX_QUERIES} queries, {expr!r} is one more")
            self.wanted[expr] = None
            raise TemplateError(f"{expr!r} has no answer here")
        if isinstance(answer, str):
            raise TemplateError(answer)
        return answer


@dataclass(frozen=True)
class Surroundings:
    """What templates know beside the alert: how the installation calls itself, and what is true at that moment."""

    labels: Labels = ()
    """`$externalLabels`: what it adds to everything that it sends out."""
    url: str = ""
    """`$externalURL`: where it is reached."""
    at: float = 0.0
    """The evaluation's unix second."""
    answers: Answers = field(default_factory=Answers, compare=False)


class Template:
    """One parsed text."""

    def __init__(self, text: str) -> None:
        """Parse. Raises TemplateError that quotes the part which is not understood."""
        self.text = text
        self._parsed: Parsed | None = parse(text, _NAMES, VARIABLES) if "{{" in text else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def label_names(self) -> frozenset[str]:
        """Return the alert's labels that the text names."""
        return frozenset() if self._parsed is None else label_names(self._parsed)

    def doubts(self) -> tuple[str, ...]:
        """Return a sentence for each action that will fail, or print no sense, whatever the alert."""
        if self._parsed is None:
            return ()
        stand_ins: dict[str, Any] = {"$value": 1.5, "$externalURL": "http://localhost"}
        return doubts(self._parsed, FUNCTIONS, stand_ins)

    def render(self, labels: Mapping[str, str], value: float, around: Surroundings) -> str:
        """Return the text for one alert. Raises TemplateError when a function refuses its argument."""
        if self._parsed is None:
            return self.text
        data = AlertData(labels, dict(around.labels), around.url, float(value))
        variables = dict(zip(VARIABLES, (labels, data.ExternalLabels, around.url, data.Value), strict=True))
        return execute(self._parsed, data, variables, FUNCTIONS | situated(around.url, around.at, around.answers.get))
