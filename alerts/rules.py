"""Prometheus rule files: the model, and a strict reader whose errors name file, line, group and rule.

Existing files of Prometheus work unchanged, and so do files with PrometheusRule objects of Kubernetes. The reader
checks everything in a file: fields, names, durations, PromQL syntax and types, templates.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from alerts.errors import RuleError, TemplateError
from alerts.no_data import NO_DATA, NoData, read_no_data
from alerts.rule_objects import UNUSED, are_objects, rule_lists
from alerts.template import Template
from alerts.yaml_nodes import Place, read_documents, read_text
from collectors.durations import format_duration, parse_duration
from collectors.samples import Labels, labels_of
from collectors.yaml_text import SECOND
from promql.parser import parse_tree

_METRIC_NAME = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")
_LABEL_NAME = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")
_CACHED_EXPRESSIONS, _CACHED_LENGTH = 4096, 10_000
"""Number of expressions that a reload does not parse again, and the length in characters of the longest of them."""
_VECTOR_TYPES = ("AggregateExpr", "VectorSelector", "BinaryExpr", "Call", "ParenExpr", "UnaryExpr", "NumberLiteral")


@dataclass(frozen=True)
class RecordingRule:
    """A rule that stores a query's result under a new name."""

    id: str
    """`<file>;<group>;<record>`; `#…` follows when the group records that name more than once."""
    record: str
    expr: str
    labels: Labels = ()
    """Set on every result; an empty value removes the label."""
    removed: tuple[str, ...] = ()
    """Labels that the rule sets to an empty text, which removes them."""
    line: int = field(default=0, compare=False)
    """Line in its file, from 1; 0: unknown. Not compared: a rule on another line is the same rule."""

    kind: ClassVar[str] = "recording"

    @property
    def name(self) -> str:
        """Name of the metric that it records."""
        return self.record


@dataclass(frozen=True)
class AlertingRule:
    """A rule that raises an alert for each result of a query. Durations are seconds."""

    id: str
    """`<file>;<group>;<alert>`; `#…` follows when the group has that alert more than once."""
    alert: str
    expr: str
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    labels: tuple[tuple[str, Template], ...] = ()
    annotations: tuple[tuple[str, Template], ...] = ()
    says_for: bool = False
    """Whether its file has a `for`. `0s` is a choice; a missing `for` may be a mistake."""
    no_data: NoData = field(default_factory=NoData)
    """Policy for missing data, from the annotation `controlplane_no_data`."""
    line: int = field(default=0, compare=False)
    """Line in its file, from 1; 0: unknown. Not compared: a rule on another line is the same rule."""

    kind: ClassVar[str] = "alerting"

    @property
    def name(self) -> str:
        """Name of the alert."""
        return self.alert


Rule = RecordingRule | AlertingRule


@dataclass(frozen=True)
class RuleGroup:
    """A group of rules that are evaluated in order at one timestamp."""

    file: str
    name: str
    rules: tuple[Rule, ...]
    interval_s: float | None = None
    """None: the host's evaluation interval."""
    limit: int = 0
    """Maximum number of results of one rule; more are an error. 0: no limit."""
    query_offset_s: float = 0.0
    """Seconds by which queries look into the past, for sources that deliver late."""

    @property
    def key(self) -> str:
        """Key of the group, unique in a fleet: `<file>;<group>`."""
        return f"{self.file};{self.name}"


Faults = list[RuleError] | None
"""List to which faults are appended, so that one reading finds all of them. None: the first fault is raised."""


def load_rule_files(paths: Iterable[Path], faults: Faults = None) -> tuple[RuleGroup, ...]:
    """Read Prometheus rule files. Raises RuleError for the first fault, with its place.

    With `faults`, the faults are appended to it instead, and the correct rules are returned.
    """
    groups: list[RuleGroup] = []
    for path in paths:
        with _noting(faults):
            groups.extend(parse_rules(read_text(path, "a rule file"), str(path), faults))
    return tuple(groups)


def parse_rules(text: str, file: str, faults: Faults = None) -> tuple[RuleGroup, ...]:
    """Parse the text of one rule file, or of a file with PrometheusRule objects. Raises RuleError for a fault.

    `file` is the file's name in messages and rule ids. Groups of an object have `FILE#NAMESPACE/NAME` as their file.
    """
    documents = read_documents(text, file)
    if not are_objects(documents):
        if len(documents) > 1:
            raise documents[1].error(SECOND)
        return read_groups(documents[0].fields("groups").get("groups"), file, faults)
    groups: list[RuleGroup] = []
    for name, place in rule_lists(documents, file):
        with _noting(faults):
            groups.extend(read_groups(place, name, faults, UNUSED))
    return tuple(groups)


def read_groups(
    place: Place | None, file: str, faults: Faults = None, unused: Iterable[str] = ()
) -> tuple[RuleGroup, ...]:
    """Read a `groups:` list. Raises RuleError for a fault. As in Prometheus, a repeated group name is a fault.

    `unused` names fields of a group that are accepted and not read.
    """
    if place is None:
        return ()
    groups: list[RuleGroup] = []
    for item in place.items():
        with _noting(faults):
            group = _group(item, file, faults, unused)
            if any(group.name == other.name for other in groups):
                raise item.error(f"group {group.name} is repeated in the same file")
            groups.append(group)
    return tuple(groups)


def repeats(groups: Iterable[RuleGroup]) -> list[tuple[str, list[tuple[RuleGroup, Rule]]]]:
    """Return rules with equal names and labels, which would write the same series: a sentence, and the rules."""
    found: dict[tuple[str, Labels], list[tuple[RuleGroup, Rule]]] = {}
    for group in groups:
        for rule in group.rules:
            found.setdefault((rule.name, _label_texts(rule)), []).append((group, rule))
    return [
        (f"{name} with labels {dict(labels)} is defined {len(rules)} times", rules)
        for (name, labels), rules in found.items()
        if len(rules) > 1
    ]


def duplicates(groups: Iterable[RuleGroup]) -> list[str]:
    """Return the sentences of `repeats`."""
    return [sentence for sentence, _ in repeats(groups)]


@contextmanager
def _noting(faults: Faults) -> Iterator[None]:
    try:
        yield
    except RuleError as error:
        if faults is None:
            raise
        faults.append(error)


def as_prometheus(groups: Iterable[RuleGroup]) -> dict[str, object]:
    """Return groups as the content of a Prometheus rule file, ready to be dumped as YAML or JSON."""
    return {"groups": [_group_content(group) for group in groups]}


def _group_content(group: RuleGroup) -> dict[str, object]:
    content: dict[str, object] = {"name": group.name}
    if group.interval_s:
        content["interval"] = format_duration(group.interval_s)
    if group.limit:
        content["limit"] = group.limit
    if group.query_offset_s:
        content["query_offset"] = format_duration(group.query_offset_s)
    return content | {"rules": [_rule_content(rule) for rule in group.rules]}


def _rule_content(rule: Rule) -> dict[str, object]:
    if isinstance(rule, RecordingRule):
        labels = dict(rule.labels) | dict.fromkeys(rule.removed, "")
        return {"record": rule.record, "expr": rule.expr} | ({"labels": labels} if labels else {})
    content: dict[str, object] = {"alert": rule.alert, "expr": rule.expr}
    if rule.says_for or rule.for_s:
        content["for"] = format_duration(rule.for_s)
    if rule.keep_firing_for_s:
        content["keep_firing_for"] = format_duration(rule.keep_firing_for_s)
    for name, templates in (("labels", rule.labels), ("annotations", rule.annotations)):
        if templates:
            content[name] = {label: template.text for label, template in templates}
    return content


def check_expr(expr: str) -> None:
    """Raise ValueError unless `expr` is PromQL and returns an instant vector or a scalar, as a rule needs."""
    if not expr.strip():
        raise ValueError("expr is empty")
    kind = _kind(expr) if len(expr) <= _CACHED_LENGTH else _kind.__wrapped__(expr)
    if kind not in _VECTOR_TYPES:
        raise ValueError(f"expr is a {kind}; a rule needs an instant vector or a scalar")


@lru_cache(maxsize=_CACHED_EXPRESSIONS)
def _kind(expr: str) -> str:
    return type(parse_tree(expr)).__name__


def _group(item: Place, file: str, faults: Faults, unused: Iterable[str]) -> RuleGroup:
    fields = item.fields("name", "interval", "rules", "limit", "query_offset", "labels", *unused)
    name = fields["name"].text() if "name" in fields else ""
    if not name:
        raise item.error("a group needs a name")
    path = f"group {name}"
    shared = _texts(fields["labels"].within(f"{path}: labels")) if "labels" in fields else {}
    rules: list[Rule] = []
    for number, rule_place in enumerate(fields["rules"].within(path).items() if "rules" in fields else (), start=1):
        with _noting(faults):
            rules.append(_rule(rule_place, file, name, number, shared))
    limit = fields["limit"].text() if "limit" in fields else "0"
    if not limit.isdigit():
        raise fields["limit"].within(path).error(f"limit: expected a whole number, got {limit!r}")
    return RuleGroup(
        file,
        name,
        tuple(_unique_ids(rules)),
        interval_s=_duration(fields, "interval", path) or None,
        limit=int(limit),
        query_offset_s=_duration(fields, "query_offset", path),
    )


def _rule(place: Place, file: str, group: str, number: int, shared: dict[str, str]) -> Rule:
    path = f"group {group}: rule {number}"
    fields = place.within(path).fields("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
    record = fields["record"].text() if "record" in fields else ""
    alert = fields["alert"].text() if "alert" in fields else ""
    if bool(record) == bool(alert):
        raise place.within(path).error("a rule needs exactly one of record: and alert:")
    path = f"group {group}: {record or alert}"
    expr = fields["expr"].text() if "expr" in fields else ""
    try:
        check_expr(expr)
    except ValueError as error:
        raise fields.get("expr", place).within(path).error(f"expr: {error}") from error
    labels = shared | (_texts(fields["labels"].within(f"{path}: labels")) if "labels" in fields else {})
    if record:
        made = _recording(place.within(path), fields, record, expr, labels, f"{file};{group};{record}")
        return replace(made, line=place.line)
    named = fields["annotations"].within(f"{path}: annotations").fields() if "annotations" in fields else {}
    annotations = {name: value.within(f"{path}: annotations: {name}").text() for name, value in named.items()}
    return AlertingRule(
        id=f"{file};{group};{alert}",
        alert=alert,
        expr=expr,
        for_s=_duration(fields, "for", path),
        keep_firing_for_s=_duration(fields, "keep_firing_for", path),
        labels=_templates(labels, fields.get("labels", place).within(f"{path}: labels")),
        annotations=_templates(annotations, fields.get("annotations", place).within(f"{path}: annotations")),
        says_for="for" in fields,
        no_data=_no_data(labels, named, path),
        line=place.line,
    )


def _no_data(labels: dict[str, str], annotations: dict[str, Place], path: str) -> NoData:
    if NO_DATA not in annotations:
        return NoData()
    place = annotations[NO_DATA].within(f"{path}: annotations: {NO_DATA}")
    if NO_DATA in labels:
        raise place.error(f"the label {NO_DATA} is set by the control plane; remove it from labels:")
    try:
        return read_no_data(place.text())
    except ValueError as error:
        raise place.error(str(error)) from error


def _recording(
    place: Place, fields: dict[str, Place], record: str, expr: str, labels: dict[str, str], rule_id: str
) -> RecordingRule:
    for name in ("for", "keep_firing_for", "annotations"):
        if name in fields:
            raise fields[name].within(place.path).error(f"{name}: belongs to alerting rules only")
    if not _METRIC_NAME.match(record):
        raise fields["record"].within(place.path).error(f"{record!r} is not a metric name")
    removed = tuple(sorted(k for k, v in labels.items() if not v))
    return RecordingRule(id=rule_id, record=record, expr=expr, labels=labels_of(labels), removed=removed)


def _texts(place: Place) -> dict[str, str]:
    texts = {}
    for name, value in place.fields().items():
        if not _LABEL_NAME.match(name) or name == "__name__":
            raise value.error(f"{name!r} is not a label name")
        texts[name] = value.within(f"{place.path}: {name}").text()
    return texts


def _templates(texts: dict[str, str], place: Place) -> tuple[tuple[str, Template], ...]:
    compiled = []
    for name, text in sorted(texts.items()):
        try:
            compiled.append((name, Template(text)))
        except TemplateError as error:
            raise place.error(f"{name}: {error}") from error
    return tuple(compiled)


def _duration(fields: dict[str, Place], name: str, path: str) -> float:
    if name not in fields:
        return 0.0
    try:
        return parse_duration(fields[name].text())
    except ValueError as error:
        raise fields[name].within(path).error(f"{name}: {error}") from error


def _label_texts(rule: Rule) -> Labels:
    if isinstance(rule, RecordingRule):
        return rule.labels
    return tuple((name, template.text) for name, template in rule.labels)


def _unique_ids(rules: list[Rule]) -> Iterable[Rule]:
    """Yield the rules with distinct ids. Rules of equal names get a digest of their labels, then a number."""
    names = Counter(rule.id for rule in rules)
    seen: Counter[str] = Counter()
    for rule in rules:
        rule_id = rule.id
        if names[rule_id] > 1:
            digest = hashlib.blake2b(repr(_label_texts(rule)).encode(), digest_size=4).hexdigest()
            rule_id = f"{rule_id}#{digest}"
            seen[rule_id] += 1
            rule_id += f".{seen[rule_id]}" if seen[rule_id] > 1 else ""
        yield replace(rule, id=rule_id)
