"""Operations of Go's templates on values: truth, comparison, fields, indexing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

from alerts.errors import TemplateError
from alerts.gotemplate.gotime import format_time, go_duration

GoValue = Any
"""str, bool, int, float, None, dict, tuple, or a record below. The package's docstring maps them to Go."""


@dataclass(frozen=True)
class Sample:
    """One element of a query's result: Prometheus's `sample`."""

    Labels: Mapping[str, str]
    Value: float


@dataclass(frozen=True)
class AlertData:
    """The data that an alert's templates are executed on."""

    Labels: Mapping[str, str]
    ExternalLabels: Mapping[str, str]
    ExternalURL: str
    Value: float


@dataclass(frozen=True)
class Time:
    """Go's time.Time; `nanoseconds` since 1970."""

    nanoseconds: int
    zone: tzinfo | None = UTC
    """Time zone in which it is shown; None: that of this machine."""

    @property
    def moment(self) -> datetime:
        """The time in its zone, to the microsecond. Raises TemplateError outside of the years 1 to 9999."""
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.nanoseconds // 1000)
            return moment if self.zone is UTC else moment.astimezone(self.zone)
        except (OverflowError, ValueError) as error:
            raise TemplateError("a time is outside of the years 1 to 9999") from error


@dataclass(frozen=True)
class Duration:
    """Go's time.Duration."""

    nanoseconds: int


class Foreign(str):
    """A text that comes from alerts, not from the template: what prints it may escape it."""


class Own:
    """Base of the values of other packages, which have fields and methods of their own."""

    go_type: ClassVar[str] = "struct"
    go_fields: ClassVar[tuple[str, ...]] = ()
    go_methods: ClassVar[Mapping[str, tuple[Callable[..., GoValue], int]]] = {}
    """Functions of the value and its arguments, and the number of arguments."""

    def go_string(self) -> str:
        """Return the value as `%v` prints it."""
        return "{" + " ".join(str(getattr(self, name)) for name in self.go_fields) + "}"


def type_name(value: GoValue) -> str:
    """Return a value's type as Go names it."""
    if value is None:
        return "<nil>"
    if isinstance(value, Own):
        return value.go_type
    if isinstance(value, str):
        return "string"
    names = {bool: "bool", int: "int", float: "float64", str: "string", tuple: "template.queryResult"}
    if type(value) in names:
        return names[type(value)]
    if isinstance(value, Mapping):
        return "map[string]string" if all(isinstance(v, str) for v in value.values()) else "map[string]interface {}"
    return {Sample: "*template.sample", AlertData: "struct", Time: "time.Time", Duration: "time.Duration"}[type(value)]


def is_true(value: GoValue) -> bool:
    """Return whether `if` takes its first branch: not nil, zero or empty. NaN and every record are true."""
    if value is None or isinstance(value, bool | str | tuple | Mapping):
        return bool(value)
    return value != 0 if isinstance(value, int | float) else True


def field(value: GoValue, name: str) -> GoValue:
    """Return `.name` of a value: an entry of a map (`""` for a missing label), or a record's field.

    Raises TemplateError for a value without that field.
    """
    if isinstance(value, Mapping):
        found = value.get(name)
        return "" if found is None and (isinstance(value, Own) or type_name(value) == "map[string]string") else found
    if isinstance(value, Own) and name in value.go_fields:
        return getattr(value, name)
    if isinstance(value, Sample | AlertData) and name in value.__dataclass_fields__:
        return getattr(value, name)
    raise TemplateError(f"there is no .{name} in {described(value)}")


def is_method(value: GoValue, name: str) -> bool:
    """Return whether a value has a method of this name."""
    if isinstance(value, Own):
        return name in value.go_methods
    return (isinstance(value, Time) and name in _TIME_METHODS) or (
        isinstance(value, Duration) and name in _DURATION_METHODS
    )


def call_method(value: GoValue, name: str, arguments: list[GoValue]) -> GoValue:
    """Call a method of a time, a duration or another record. Raises TemplateError for wrong arguments."""
    if isinstance(value, Own):
        method, takes = value.go_methods[name]
        if len(arguments) != takes:
            raise TemplateError(f"{name} takes {takes} argument{'s' * (takes != 1)}, got {len(arguments)}")
        return method(value, *arguments)
    if isinstance(value, Time) and name == "Format":
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise TemplateError("Format takes a layout such as `2006-01-02 15:04:05`")
        return format_time(value.moment, value.nanoseconds, arguments[0])
    if isinstance(value, Time) and name in _OF_TWO:
        if len(arguments) != 1:
            raise TemplateError(f"{name} takes 1 argument, got {len(arguments)}")
        return _OF_TWO[name](value, arguments[0])
    if arguments:
        raise TemplateError(f"{name} takes no arguments, got {len(arguments)}")
    if isinstance(value, Time):
        return _TIME_METHODS[name](value)
    return _DURATION_METHODS[name](value)


def _plus(time: Time, duration: GoValue) -> Time:
    """Return the time after a duration, or after a number of nanoseconds. Raises TemplateError for another type."""
    nanoseconds = duration.nanoseconds if isinstance(duration, Duration) else duration
    # As in Go, a constant such as 28800e9 is a whole number.
    if isinstance(nanoseconds, float) and nanoseconds.is_integer():
        nanoseconds = int(nanoseconds)
    if type(nanoseconds) is not int:
        raise TemplateError(f"Add takes a duration or nanoseconds, got {described(duration)}")
    return Time(time.nanoseconds + nanoseconds, time.zone)


def _nanoseconds_of(value: GoValue) -> int:
    if not isinstance(value, Time):
        raise TemplateError(f"{described(value)} is not a time")
    return value.nanoseconds


_OF_TWO: dict[str, Callable[[Time, GoValue], GoValue]] = {
    "Add": _plus,
    "Sub": lambda t, u: Duration(max(-(2**63), min(2**63 - 1, t.nanoseconds - _nanoseconds_of(u)))),
    "After": lambda t, u: t.nanoseconds > _nanoseconds_of(u),
    "Before": lambda t, u: t.nanoseconds < _nanoseconds_of(u),
    "Equal": lambda t, u: t.nanoseconds == _nanoseconds_of(u),
}
"""Methods of a time with one argument. Durations have 64 bits."""
_YEAR_1 = (datetime(1, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
_TIME_METHODS: dict[str, Any] = {
    **_OF_TWO,
    "Format": None,
    "UTC": lambda t: Time(t.nanoseconds),
    "Local": lambda t: Time(t.nanoseconds, None),
    "IsZero": lambda t: t.nanoseconds == _YEAR_1,
    "Unix": lambda t: t.nanoseconds // 1_000_000_000,
    "UnixMilli": lambda t: t.nanoseconds // 1_000_000,
    "Year": lambda t: t.moment.year,
    "Month": lambda t: t.moment.strftime("%B"),
    "Day": lambda t: t.moment.day,
    "Hour": lambda t: t.moment.hour,
    "Minute": lambda t: t.moment.minute,
    "Second": lambda t: t.moment.second,
    "Weekday": lambda t: t.moment.strftime("%A"),
    "String": lambda t: format_time(t.moment, t.nanoseconds),
}
_DURATION_METHODS: dict[str, Any] = {
    "Seconds": lambda d: d.nanoseconds / 1e9,
    "Minutes": lambda d: d.nanoseconds / 60e9,
    "Hours": lambda d: d.nanoseconds / 3600e9,
    "Milliseconds": lambda d: d.nanoseconds // 1_000_000,
    "String": lambda d: go_duration(d.nanoseconds),
}


def equal(a: GoValue, b: GoValue) -> bool:
    """Return Go's `eq`. Raises TemplateError for values of different or composite types."""
    if a is None or b is None:
        return a is b
    if _kind(a) != _kind(b):
        raise TemplateError(f"incompatible types for comparison: {described(a)} and {described(b)}{_hint(a, b)}")
    return bool(a == b)


def less(a: GoValue, b: GoValue) -> bool:
    """Return Go's `lt`. Raises TemplateError for values of different types, or of a type without an order."""
    if _kind(a) != _kind(b):
        raise TemplateError(f"incompatible types for comparison: {described(a)} and {described(b)}{_hint(a, b)}")
    if isinstance(a, bool):
        raise TemplateError("true and false have no order")
    return bool(a < b)


def _kind(value: GoValue) -> type:
    if isinstance(value, str):
        return str
    if type(value) not in (bool, int, float):
        raise TemplateError(f"{described(value)} cannot be compared")
    return type(value)


def _hint(a: GoValue, b: GoValue) -> str:
    whole = next((v for v in (a, b) if type(v) is int), None)
    return f"; write {whole}.0" if whole is not None and {type(a), type(b)} == {int, float} else ""


def index(value: GoValue, *keys: GoValue) -> GoValue:
    """Return `index value key…`. Raises TemplateError for a key of the wrong type or out of range."""
    for key in keys:
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise TemplateError(f"a map is indexed by a text, got {described(key)}")
            value = field(value, key)
        elif isinstance(value, tuple | str):
            if type(key) is not int:
                raise TemplateError(f"a list is indexed by a whole number, got {described(key)}")
            if not 0 <= key < length(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key] if isinstance(value, tuple) else value.encode()[key]
        else:
            raise TemplateError(f"{described(value)} cannot be indexed")
    return value


def length(value: GoValue) -> int:
    """Return `len value`: the number of elements, or of a text's bytes. Raises TemplateError for another type."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, tuple | Mapping):
        return len(value)
    raise TemplateError(f"{described(value)} has no length")


def cut(value: GoValue, *bounds: GoValue) -> GoValue:
    """Return `slice value from to`. Raises TemplateError for a wrong type or bounds out of range."""
    if not isinstance(value, str | tuple):
        raise TemplateError(f"{described(value)} cannot be sliced")
    whole = value.encode() if isinstance(value, str) else value
    start, stop = (*bounds, *(0, len(whole))[len(bounds) :])[:2]
    if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= len(whole):
        raise TemplateError(f"slice bounds out of range: {start}, {stop}")
    part = whole[start:stop]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def described(value: GoValue) -> str:
    """Return a value in words, for messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, int | float):
        return f"the {'whole ' if isinstance(value, int) else ''}number {value}"
    names = {Sample: "a sample", AlertData: "the alert", Time: "a time", Duration: "a duration", tuple: "a list"}
    if isinstance(value, Own):
        return f"a {value.go_type}"
    return "nothing" if value is None else names.get(type(value), "a map")
