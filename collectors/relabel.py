"""Relabelling as in Prometheus 3: rules that rewrite a set of labels, or drop what it belongs to. Pure.

A label's name may be any text but the empty one, as in Prometheus 3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from collectors.errors import RelabelError
from promql.errors import PatternError
from promql.regex import Regex, compile_regex, expand

MAX_MODULUS = 2**64 - 1
MAX_SHOWN = 80
"""Most characters of a value in a message."""


class Action(StrEnum):
    """Kind of a rule, by Prometheus's name."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEP_EQUAL = "keepequal"
    DROP_EQUAL = "dropequal"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"


_NEEDS_TARGET = frozenset(
    (Action.REPLACE, Action.HASHMOD, Action.LOWERCASE, Action.UPPERCASE, Action.KEEP_EQUAL, Action.DROP_EQUAL)
)
_USED: Mapping[Action, frozenset[str]] = {
    Action.KEEP_EQUAL: frozenset(("source_labels", "target_label")),
    Action.DROP_EQUAL: frozenset(("source_labels", "target_label")),
    Action.LABELDROP: frozenset(("regex",)),
    Action.LABELKEEP: frozenset(("regex",)),
}
"""The only fields that may be set. Other actions ignore fields that they do not use, as Prometheus does."""


@dataclass(frozen=True)
class RelabelRule:
    """One rule, with Prometheus's defaults. Raises RelabelError when Prometheus would refuse it."""

    action: Action = Action.REPLACE
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    target_label: str = ""
    regex: str = "(.*)"
    """Must match the whole value."""
    replacement: str = "$1"
    modulus: int = 0

    def __post_init__(self) -> None:
        action, target = self.action, self.target_label
        if action in _NEEDS_TARGET and not target:
            raise RelabelError("target_label", f"action {action} needs it")
        if action is Action.LABELMAP and not self.replacement:
            raise RelabelError("replacement", "action labelmap needs it")
        if action is Action.HASHMOD and not 0 < self.modulus <= MAX_MODULUS:
            raise RelabelError("modulus", f"action hashmod needs a whole number from 1 to {MAX_MODULUS}")
        if action in (Action.LOWERCASE, Action.UPPERCASE) and self.replacement != "$1":
            raise RelabelError("replacement", f"action {action} does not use it; remove it")
        used = _USED.get(action)
        for field in fields(self) if used else ():
            if used and field.name not in (*used, "action") and getattr(self, field.name) != field.default:
                raise RelabelError(field.name, f"action {action} uses only {' and '.join(sorted(used))}; remove it")
        try:
            compile_regex(self.regex)
        except PatternError as error:
            raise RelabelError("regex", str(error)) from error


def relabelled(labels: Mapping[str, str], rules: Iterable[RelabelRule]) -> dict[str, str] | None:
    """Return the labels after all rules, in their order, without empty values. None: a rule drops them."""
    found = {name: value for name, value in labels.items() if value}
    for rule in rules:
        if not _applied(rule, found, _value(rule, found)):
            return None
    return found


@dataclass(frozen=True)
class Dropping:
    """A rule that drops labels, and the values that it compares."""

    number: int
    """Its place among the rules, from 0."""
    rule: RelabelRule
    value: str
    """The joined values of its sources."""
    other: str
    """The value of its target."""

    def __str__(self) -> str:
        """Return the rule's place, what it asks for, and what it found."""
        return f"relabel_configs[{self.number}] {self.sentence}"

    @property
    def sentence(self) -> str:
        """Demand of the rule, and the values that it found."""
        rule, sources = self.rule, " ".join(self.rule.source_labels) or "no label"
        pattern, value, target = _quoted(rule.regex), _quoted(self.value), rule.target_label
        match rule.action:
            case Action.KEEP:
                told = f"{sources} must match {pattern}, and is {value}"
            case Action.DROP:
                told = f"{sources} must not match {pattern}, and is {value}"
            case Action.KEEP_EQUAL:
                told = f"{sources} must be equal to {target}, and {value} is not {_quoted(self.other)}"
            case _:
                told = f"{sources} must not be equal to {target}, and both are {value}"
        return f"({rule.action}): {told}"


def dropping(labels: Mapping[str, str], rules: Iterable[RelabelRule]) -> Dropping | None:
    """Return the rule that drops labels. None: they stay."""
    found = {name: value for name, value in labels.items() if value}
    for number, rule in enumerate(rules):
        value = _value(rule, found)
        if not _applied(rule, found, value):
            return Dropping(number, rule, value, found.get(rule.target_label, ""))
    return None


def _value(rule: RelabelRule, labels: Mapping[str, str]) -> str:
    return rule.separator.join(labels.get(name, "") for name in rule.source_labels)


def _applied(rule: RelabelRule, labels: dict[str, str], value: str) -> bool:
    """Apply a rule to labels. Return whether they stay."""
    if not _STEPS[rule.action](labels, value, rule, compile_regex(rule.regex)):
        return False
    for name in [name for name, text in labels.items() if not text]:
        del labels[name]
    return True


def _quoted(text: str) -> str:
    """Return a text in quotes, shortened: a label may have any length."""
    return json.dumps(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…", ensure_ascii=False)


_Step = Callable[[dict[str, str], str, RelabelRule, Regex], bool]
"""Applies a rule to labels, which it changes, and to the value of its sources. Returns whether the labels stay."""


def _replace(labels: dict[str, str], value: str, rule: RelabelRule, regex: Regex) -> bool:
    groups = regex.groups(value)
    if groups is None:
        return True
    target = expand(rule.target_label, groups, regex.group_numbers)
    if target:
        labels[target] = expand(rule.replacement, groups, regex.group_numbers)
    return True


def _hashmod(labels: dict[str, str], value: str, rule: RelabelRule, regex: Regex) -> bool:
    digest = hashlib.md5(value.encode(errors="surrogatepass"), usedforsecurity=False).digest()
    labels[rule.target_label] = str(int.from_bytes(digest[8:], "big") % rule.modulus)
    return True


def _map(labels: dict[str, str], value: str, rule: RelabelRule, regex: Regex) -> bool:
    # In the order of names, so that the last of two labels with one new name wins. Prometheus has no fixed order here.
    for name, text in sorted(labels.items()):
        groups = regex.groups(name)
        if groups and (to := expand(rule.replacement, groups, regex.group_numbers)):
            labels[to] = text
    return True


def _drop_names(labels: dict[str, str], regex: Regex, *, matching: bool) -> bool:
    for name in [name for name in labels if regex.matches(name) is matching]:
        del labels[name]
    return True


def _set(labels: dict[str, str], rule: RelabelRule, value: str) -> bool:
    labels[rule.target_label] = value
    return True


_STEPS: Mapping[Action, _Step] = {
    Action.REPLACE: _replace,
    Action.KEEP: lambda labels, value, rule, regex: regex.matches(value),
    Action.DROP: lambda labels, value, rule, regex: not regex.matches(value),
    Action.KEEP_EQUAL: lambda labels, value, rule, regex: labels.get(rule.target_label, "") == value,
    Action.DROP_EQUAL: lambda labels, value, rule, regex: labels.get(rule.target_label, "") != value,
    Action.HASHMOD: _hashmod,
    Action.LABELMAP: _map,
    Action.LABELDROP: lambda labels, value, rule, regex: _drop_names(labels, regex, matching=True),
    Action.LABELKEEP: lambda labels, value, rule, regex: _drop_names(labels, regex, matching=False),
    Action.LOWERCASE: lambda labels, value, rule, regex: _set(labels, rule, value.lower()),
    Action.UPPERCASE: lambda labels, value, rule, regex: _set(labels, rule, value.upper()),
}
