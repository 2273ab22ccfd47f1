"""The built-in rule packs: Prometheus rule files with a `variables:` block that fleet.yaml's thresholds override.

A variable has a `value`, a `for`, a `window` (any of them) and a `unit`. Rules use them as `${name.value}` (a number;
durations as seconds), `${name.duration}` (the value as a Prometheus duration), `${name.for}`, `${name.window}` and
`${name.window_s}` (seconds). `${runbooks}` is where the runbook pages are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Protocol

from alerts.errors import RuleError
from alerts.rules import RuleGroup, load_rule_files, read_groups
from alerts.yaml_nodes import Place, read_yaml
from collectors.durations import format_duration, parse_duration

BUILTIN = ("llm", "gpu")
"""Names of the built-in packs."""
RUNBOOKS = "docs/runbooks"
"""Where runbook pages are unless the host knows an address that serves them."""
UNITS = ("seconds", "fraction", "ratio", "celsius", "count", "usd")
"""`fraction` lies in (0, 1]; `ratio` is any positive number; only `seconds` may be written as a duration."""

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


class Threshold(Protocol):
    """What overrides a variable; durations in seconds, None leaves the pack's own."""

    @property
    def value(self) -> float | str | None:
        """A number, or a duration for variables in seconds."""
        ...

    @property
    def for_(self) -> float | None:
        """How long the condition must hold."""
        ...

    @property
    def window(self) -> float | None:
        """Over how long rates are taken."""
        ...


@dataclass(frozen=True)
class Override:
    """A Threshold for callers that have no configuration."""

    value: float | str | None = None
    for_: float | None = None
    window: float | None = None


@dataclass(frozen=True)
class Variable:
    """One tunable of a pack. Durations are seconds; a None field is one that its rules do not use."""

    name: str
    unit: str
    help: str
    value: float | None = None
    for_s: float | None = None
    window_s: float | None = None


def load_pack(
    name: str, overrides: Mapping[str, Threshold] | None = None, *, runbooks: str = RUNBOOKS
) -> tuple[RuleGroup, ...]:
    """Return a built-in pack's groups with thresholds applied; their file is `builtin:<name>`.

    Raises RuleError for an unknown pack, an unknown threshold (naming the known ones), or a value that does not fit.
    """
    root = _read(name)
    fields = root.fields("variables", "groups")
    variables = _override(_variables(fields["variables"]), overrides or {})
    _fill(fields["groups"], variables, runbooks)
    return read_groups(fields["groups"], f"builtin:{name}")


def pack_variables(name: str) -> tuple[Variable, ...]:
    """Return a built-in pack's variables with their defaults, as the pack lists them. Raises RuleError."""
    return tuple(_variables(_read(name).fields("variables", "groups")["variables"]).values())


def load_sources(
    sources: Iterable[str],
    base: Path,
    overrides: Mapping[str, Threshold] | None = None,
    *,
    runbooks: str = RUNBOOKS,
) -> tuple[RuleGroup, ...]:
    """Return the groups of fleet.yaml's `rules:`: `builtin:<pack>`, or file patterns relative to `base`.

    A threshold must belong to one of the packs that are loaded, and what two sources name is loaded once. Raises
    RuleError; a pattern that matches no file is fine, a file named without a pattern must exist.
    """
    groups: list[RuleGroup] = []
    sources = tuple(dict.fromkeys(sources))
    seen: set[Path] = set()
    packs = [source.removeprefix("builtin:") for source in sources if source.startswith("builtin:")]
    known = {pack: {v.name for v in pack_variables(pack)} for pack in packs}
    _refuse_unknown(overrides or {}, sorted(set().union(*known.values())) if known else [])
    for source in sources:
        if source.startswith("builtin:"):
            pack = source.removeprefix("builtin:")
            own = {k: v for k, v in (overrides or {}).items() if k in known[pack]}
            groups.extend(load_pack(pack, own, runbooks=runbooks))
        else:
            new = [path for path in _files(source, base) if path not in seen]
            seen.update(new)
            groups.extend(load_rule_files(new))
    return tuple(groups)


def rule_files(sources: Iterable[str], base: Path) -> list[Path]:
    """Return the files that fleet.yaml's `rules:` name now, each once. Blocking."""
    found = [path for source in sources if not source.startswith("builtin:") for path in _files(source, base)]
    return list(dict.fromkeys(found))


def _files(pattern: str, base: Path) -> list[Path]:
    if not any(c in pattern for c in "*?["):
        return [base / pattern]
    path = Path(pattern)
    start = Path(path.anchor) if path.is_absolute() else base
    return sorted(start.glob(str(path.relative_to(path.anchor)) if path.is_absolute() else pattern))


def _read(name: str) -> Place:
    if name not in BUILTIN:
        there = ", ".join(f"builtin:{b}" for b in BUILTIN)
        raise RuleError(f"no such rule pack; there are {there}", file=f"builtin:{name}")
    text = (resources.files("alerts") / "packs" / f"{name}.yaml").read_text(encoding="utf-8")
    return read_yaml(text, f"builtin:{name}")


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
    _refuse_unknown(overrides, sorted(variables))
    for name, threshold in overrides.items():
        mine = variables[name]
        given = {"value": threshold.value, "for": threshold.for_, "window": threshold.window}
        has = {"value": mine.value, "for": mine.for_s, "window": mine.window_s}
        for field in given:
            if given[field] is not None and has[field] is None:
                usable = ", ".join(f for f in has if has[f] is not None)
                raise RuleError(f"threshold {name}: it has no {field}; it has {usable}")
        if threshold.window is not None and threshold.window <= 0:
            raise RuleError(f"threshold {name}: window must be longer than 0")
        variables[name] = replace(
            mine,
            value=mine.value if threshold.value is None else _value(mine, threshold.value),
            for_s=mine.for_s if threshold.for_ is None else threshold.for_,
            window_s=mine.window_s if threshold.window is None else threshold.window,
        )
    return variables


def _refuse_unknown(overrides: Iterable[str], known: list[str]) -> None:
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        there = ", ".join(known) if known else "none, because no built-in pack is loaded"
        raise RuleError(f"unknown threshold {', '.join(unknown)}; known are {there}")


def _value(variable: Variable, given: float | str) -> float:
    expected = "a number or a duration such as 2s" if variable.unit == "seconds" else "a number"
    try:
        number = float(given)
    except ValueError:
        try:
            number = parse_duration(str(given))
        except ValueError:
            raise RuleError(f"threshold {variable.name}: value: expected {expected}, got {given!r}") from None
        if variable.unit != "seconds":
            raise RuleError(
                f"threshold {variable.name}: value: expected a number ({variable.unit}), got the duration {given!r}"
            ) from None
    if variable.unit == "fraction" and not 0 < number <= 1:
        raise RuleError(f"threshold {variable.name}: value: expected a fraction between 0 and 1, got {given!r}")
    if not 0 <= number < float("inf"):
        raise RuleError(f"threshold {variable.name}: value: expected {expected} from 0 on, got {given!r}")
    return number


def _fill(groups: Place, variables: Mapping[str, Variable], runbooks: str) -> None:
    for scalar in groups.scalars():
        text = scalar.text()
        for placeholder in _PLACEHOLDER.findall(text):
            text = text.replace(f"${{{placeholder}}}", _lookup(placeholder, variables, runbooks, scalar))
        if text != scalar.text():
            scalar.replace_text(text)


def _lookup(placeholder: str, variables: Mapping[str, Variable], runbooks: str, place: Place) -> str:
    if placeholder == "runbooks":
        return runbooks.rstrip("/")
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
