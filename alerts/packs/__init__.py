"""The built-in rule packs: Prometheus rule files with a `variables:` block that fleet.yaml's thresholds override.

A variable has a `unit` and any of `value`, `for` and `window`. Rules use `${name.value}` (a number; seconds for a
duration), `${name.duration}` (the value as a Prometheus duration), `${name.for}`, `${name.window}` and
`${name.window_s}` (seconds). `${runbooks}` is the address of the runbook pages. `includes:` names packs that are loaded
with a pack. Each alert gets the annotation `owner`, and the policy for missing data that fleet.yaml has for it.
`slo.yaml` is a template: its groups are made for each SLO of fleet.yaml.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Protocol

from alerts.errors import NoDataError, RuleError, ThresholdError
from alerts.no_data import NO_DATA, NoData
from alerts.packs.slos import Slo, slo_texts
from alerts.rules import AlertingRule, Rule, RuleGroup, load_rule_files, read_groups
from alerts.template import Template
from alerts.yaml_nodes import Place, read_yaml
from collectors.durations import format_duration, parse_duration

BUILTIN = ("llm", "triton", "vllm", "gateway", "slo", "cost", "rollout", "self", "gpu", "backups")
"""Names of the built-in packs."""
PREFIX = "builtin:"
"""Prefix of a pack's name in fleet.yaml's `rules:`."""
OWNER = "on-call"
"""Owner of a rule whose pack has no owner in fleet.yaml."""
RUNBOOKS = "docs/runbooks"
"""Default place of the runbook pages, for a host without an address that serves them."""
UNITS = ("seconds", "fraction", "ratio", "celsius", "count", "usd")
"""Units of variables. A `fraction` lies in (0, 1]; a `ratio` is any number from 0. Only `seconds` accepts durations."""

CACHED_PACKS = 64
"""Number of packs with their values filled in that are kept, so that a reload reads only those whose values differ."""

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


class Threshold(Protocol):
    """Override of a variable. Durations are seconds; None keeps the pack's value."""

    @property
    def value(self) -> float | str | None:
        """A number, or a duration such as "2s" for variables in seconds."""
        ...

    @property
    def for_(self) -> float | None:
        """Duration for which the condition must hold."""
        ...

    @property
    def window(self) -> float | None:
        """Range over which rates are computed."""
        ...


@dataclass(frozen=True)
class Variable:
    """A variable of a pack. Durations are seconds; a field that its rules do not use is None."""

    name: str
    unit: str
    help: str
    value: float | None = None
    for_s: float | None = None
    window_s: float | None = None


@dataclass(frozen=True)
class PackOptions:
    """The settings of fleet.yaml for the packs. Equal options make equal rules."""

    runbooks: str = RUNBOOKS
    """Address of the runbook pages."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Owner by pack, as a template of Prometheus. `default` is that of the other packs."""
    slos: Sequence[Slo] = ()
    no_data: Mapping[str, NoData] = field(default_factory=dict)
    """Policy for missing data by name of an alert. It takes the place of the pack's."""

    def owner(self, pack: str) -> str:
        """Return the owner of a pack's rules."""
        return self.owners.get(pack, self.owners.get("default", OWNER))


EXAMPLE = PackOptions(slos=(Slo("MODEL", "SLO", objective=0.999, window_s=30 * 86400.0),))
"""Options with which every pack has rules: those of one SLO in `builtin:slo`."""


def load_pack(
    name: str, overrides: Mapping[str, Threshold] | None = None, options: PackOptions | None = None
) -> tuple[RuleGroup, ...]:
    """Return a built-in pack's own groups with thresholds applied. Their file is `builtin:<name>`.

    Packs that it includes are not loaded (see `expanded`). Raises RuleError for an unknown pack, an unknown threshold
    (its message lists the known ones), and a wrong value.
    """
    options = options or PackOptions()
    if name != "slo":
        return _filled(name, overrides or {}, options, {})
    return tuple(group for slo in options.slos for group in _filled(name, overrides or {}, options, slo_texts(slo)))


def _filled(
    name: str, overrides: Mapping[str, Threshold], options: PackOptions, texts: Mapping[str, str]
) -> tuple[RuleGroup, ...]:
    """Return the groups of a pack. `texts` are further placeholders."""
    variables = _override({v.name: v for v in pack_variables(name)}, overrides)
    further = {"runbooks": options.runbooks.rstrip("/"), **texts}
    return tuple(
        replace(group, rules=tuple(_tuned(rule, options.owner(name), options.no_data) for rule in group.rules))
        for group in _groups(name, tuple(variables.values()), tuple(further.items()))
    )


@lru_cache(maxsize=CACHED_PACKS)
def _groups(name: str, variables: tuple[Variable, ...], texts: tuple[tuple[str, str], ...]) -> tuple[RuleGroup, ...]:
    """Return the groups of a pack with these values, before its rules get owners and policies."""
    place = _read(name)["groups"]
    _fill(place, {variable.name: variable for variable in variables}, dict(texts))
    return read_groups(place, f"{PREFIX}{name}")


def _tuned(rule: Rule, owner: str, no_data: Mapping[str, NoData]) -> Rule:
    """Return a rule whose alerts have the annotation `owner`, with the policy for missing data of its name.

    The owner is no label: another owner would end each active alert, and start it again.
    """
    if not isinstance(rule, AlertingRule):
        return rule
    named = dict(rule.annotations) | {"owner": Template(owner)}
    policy = no_data.get(rule.alert, rule.no_data)
    if rule.alert in no_data:
        named[NO_DATA] = Template(str(policy))  # rules that are written for Prometheus say it too
    return replace(rule, annotations=tuple(sorted(named.items(), key=lambda pair: pair[0])), no_data=policy)


def expanded(sources: Iterable[str]) -> tuple[str, ...]:
    """Return the entries of fleet.yaml's `rules:`, each once, with the packs that packs among them include."""
    found: dict[str, None] = {}
    for source in sources:
        found.setdefault(source)
        for pack in _included(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else ():
            found.setdefault(PREFIX + pack)
    return tuple(found)


@cache
def _included(pack: str) -> tuple[str, ...]:
    fields = _read(pack) if pack in BUILTIN else {}
    return tuple(item.text() for item in fields["includes"].items()) if "includes" in fields else ()


@cache
def pack_variables(name: str) -> tuple[Variable, ...]:
    """Return a built-in pack's variables with defaults, in the pack's order. Raises RuleError for an unknown pack."""
    return tuple(_variables(_read(name)["variables"]).values())


def threshold_values(overrides: Mapping[str, Threshold] | None = None) -> dict[str, float]:
    """Return the value of each variable of the built-in packs that has one; durations in seconds.

    Raises RuleError for a wrong value in `overrides`, whose names of other variables do not count.
    """
    found = {v.name: v for name in BUILTIN for v in pack_variables(name)}
    mine = {name: override for name, override in (overrides or {}).items() if name in found}
    return {v.name: v.value for v in _override(found, mine).values() if v.value is not None}


def load_sources(
    sources: Iterable[str],
    base: Path,
    overrides: Mapping[str, Threshold] | None = None,
    options: PackOptions | None = None,
) -> tuple[RuleGroup, ...]:
    """Return the groups of fleet.yaml's `rules:`: `builtin:<pack>`, or file patterns relative to `base`.

    A file that two sources name is loaded once. A pattern may match no file. Raises RuleError for a wrong rule file, a
    missing file that is named without a pattern, and a threshold or an alert of `options.no_data` that no loaded pack
    has.
    """
    groups: list[RuleGroup] = []
    sources = expanded(sources)
    seen: set[Path] = set()
    known = _variables_of(sources)
    for fault in _misfits({k: v for pack in known.values() for k, v in pack.items()}, overrides or {}):
        raise fault
    for unknown in no_data_faults(sources, options.no_data if options else {}):
        raise unknown
    for source in sources:
        if source.startswith(PREFIX):
            pack = source.removeprefix(PREFIX)
            own = {k: v for k, v in (overrides or {}).items() if k in known[pack]}
            groups.extend(load_pack(pack, own, options))
        else:
            new = [path for path in matching_files(source, base) if path not in seen]
            seen.update(new)
            groups.extend(load_rule_files(new))
    return tuple(groups)


def threshold_faults(sources: Iterable[str], overrides: Mapping[str, Threshold]) -> list[ThresholdError]:
    """Return every fault of the overrides, checked against the variables of the packs among `sources`."""
    existing = [source for source in expanded(sources) if source.removeprefix(PREFIX) in BUILTIN]
    known = _variables_of(existing)
    return list(_misfits({k: v for pack in known.values() for k, v in pack.items()}, overrides))


def no_data_faults(sources: Iterable[str], names: Iterable[str]) -> list[NoDataError]:
    """Return a fault for each of `names` that is no alert of the packs among `sources`."""
    wanted = list(names)
    if not wanted:
        return []
    packs = [source.removeprefix(PREFIX) for source in expanded(sources)]
    known = {alert: None for pack in packs if pack in BUILTIN for alert in _alerts(pack)}
    return [_unknown_alert(name, known) for name in wanted if name not in known]


@cache
def _alerts(pack: str) -> tuple[str, ...]:
    """Return the names of a pack's alerts."""
    groups = load_pack(pack, options=EXAMPLE)
    return tuple(rule.alert for group in groups for rule in group.rules if isinstance(rule, AlertingRule))


def _unknown_alert(name: str, known: Iterable[str]) -> NoDataError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return NoDataError(
        f"is no alert of the built-in packs in rules:; {hint}`cp rules list` lists them, and a rule of a file has the "
        f"annotation {NO_DATA}",
        name,
    )


def _variables_of(sources: Iterable[str]) -> dict[str, dict[str, Variable]]:
    """Return the variables of each pack in `sources`. Raises RuleError for an unknown pack."""
    packs = [source.removeprefix(PREFIX) for source in sources if source.startswith(PREFIX)]
    return {pack: {v.name: v for v in pack_variables(pack)} for pack in packs}


def rule_files(sources: Iterable[str], base: Path) -> list[Path]:
    """Return the files that the entries of fleet.yaml's `rules:` match now, each once. Blocking."""
    found = [path for source in sources if not source.startswith(PREFIX) for path in matching_files(source, base)]
    return list(dict.fromkeys(found))


def matching_files(pattern: str, base: Path) -> list[Path]:
    """Return the files of one entry of `rules:`: the file itself, or the files that its glob matches now. Blocking."""
    if not any(c in pattern for c in "*?["):
        return [base / pattern]
    path = Path(pattern)
    start = Path(path.anchor) if path.is_absolute() else base
    return sorted(start.glob(str(path.relative_to(path.anchor)) if path.is_absolute() else pattern))


def _read(name: str) -> dict[str, Place]:
    """Return the fields of a pack. Raises RuleError for an unknown pack."""
    if name not in BUILTIN:
        there = ", ".join(f"builtin:{b}" for b in BUILTIN)
        raise RuleError(f"no such rule pack; there are {there}", file=f"builtin:{name}")
    text = (resources.files("alerts") / "packs" / f"{name}.yaml").read_text(encoding="utf-8")
    return read_yaml(text, f"builtin:{name}").fields("includes", "variables", "groups")


def _variables(place: Place) -> dict[str, Variable]:
    variables = {}
    for name, entry in place.fields().items():
        fields = entry.within(f"variables: {name}").fields("value", "for", "window", "unit", "help")
        unit = fields["unit"].text() if "unit" in fields else "count"
        if unit not in UNITS:
            raise fields["unit"].error(f"unit: expected one of {', '.join(UNITS)}")
        bare = Variable(name, unit, fields["help"].text() if "help" in fields else "")
        variables[name] = replace(
            bare,
            value=_value(bare, fields["value"].text()) if "value" in fields else None,
            for_s=parse_duration(fields["for"].text()) if "for" in fields else None,
            window_s=parse_duration(fields["window"].text()) if "window" in fields else None,
        )
    return variables


def _override(variables: dict[str, Variable], overrides: Mapping[str, Threshold]) -> dict[str, Variable]:
    for fault in _misfits(variables, overrides):
        raise fault
    for name, threshold in overrides.items():
        mine = variables[name]
        variables[name] = replace(
            mine,
            value=mine.value if threshold.value is None else _value(mine, threshold.value),
            for_s=mine.for_s if threshold.for_ is None else threshold.for_,
            window_s=mine.window_s if threshold.window is None else threshold.window,
        )
    return variables


def _misfits(variables: Mapping[str, Variable], overrides: Mapping[str, Threshold]) -> Iterator[ThresholdError]:
    """Yield the faults of overrides."""
    for name, threshold in overrides.items():
        if name not in variables:
            there = ", ".join(sorted(variables)) or "none, because no built-in pack is loaded"
            near = difflib.get_close_matches(name, variables, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            yield ThresholdError(f"is not known; {hint}known are {there}", name)
            continue
        mine = variables[name]
        given = {"value": threshold.value, "for": threshold.for_, "window": threshold.window}
        has = {"value": mine.value, "for": mine.for_s, "window": mine.window_s}
        usable = ", ".join(part for part in has if has[part] is not None)
        for part in given:
            if given[part] is not None and has[part] is None:
                yield ThresholdError(f"is not a field of this variable; it has {usable}", name, part)
        if threshold.window is not None and threshold.window <= 0:
            yield ThresholdError("must be longer than 0", name, "window")
        if threshold.value is not None and mine.value is not None:
            try:
                _value(mine, threshold.value)
            except ThresholdError as fault:
                yield fault


def _value(variable: Variable, given: float | str) -> float:
    expected = "a number or a duration such as 2s" if variable.unit == "seconds" else "a number"
    try:
        number = float(given)
    except ValueError:
        try:
            number = parse_duration(str(given))
        except ValueError:
            raise ThresholdError(f"expected {expected}, got {_shown(given)}", variable.name, "value") from None
        if variable.unit != "seconds":
            wrong = f"expected a number ({variable.unit}), got the duration {given!r}"
            raise ThresholdError(wrong, variable.name, "value") from None
    if variable.unit == "fraction" and not 0 < number <= 1:
        raise ThresholdError(f"expected a fraction between 0 and 1, got {_shown(given)}", variable.name, "value")
    if not 0 <= number < float("inf"):
        raise ThresholdError(f"expected {expected} from 0 on, got {_shown(given)}", variable.name, "value")
    return number


def _shown(given: float | str) -> str:
    return f"{given:g}" if isinstance(given, float) else repr(given)


def _fill(groups: Place, variables: Mapping[str, Variable], texts: Mapping[str, str]) -> None:
    """Replace the placeholders. `texts` are placeholders that are no variables."""
    for scalar in groups.scalars():
        text = scalar.text()
        for placeholder in _PLACEHOLDER.findall(text):
            text = text.replace(f"${{{placeholder}}}", _lookup(placeholder, variables, texts, scalar))
        if text != scalar.text():
            scalar.replace_text(text)


def _lookup(placeholder: str, variables: Mapping[str, Variable], texts: Mapping[str, str], place: Place) -> str:
    if placeholder in texts:
        return texts[placeholder]
    name, _, field = placeholder.partition(".")
    variable = variables.get(name)
    found: str | None = None
    if variable is not None:
        if field in ("value", "duration") and variable.value is not None:
            found = f"{variable.value:.12g}" if field == "value" else format_duration(variable.value)
        elif field == "for" and variable.for_s is not None:
            found = format_duration(variable.for_s)
        elif field in ("window", "window_s") and variable.window_s is not None:
            found = format_duration(variable.window_s) if field == "window" else f"{variable.window_s:.12g}"
    if found is None:
        raise place.error(f"${{{placeholder}}} is not a variable of this pack")
    return found
