"""The functions of Alertmanager's templates. Source: DefaultFuncs in template/template.go of Alertmanager."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from alerts.gotemplate.functions import GO_FUNCTIONS, Function
from alerts.gotemplate.goformat import humanize_duration
from alerts.gotemplate.sprintf import go_value
from alerts.gotemplate.values import Duration, GoValue, Own, Time, call_method
from alerts.routing.intervals import zone_of
from alerts.template_functions import FUNCTIONS as RULE_FUNCTIONS
from alerts.template_functions import number
from alerts.texts.data import Pair

_SHARED = ("toUpper", "toLower", "title", "match", "reReplaceAll", "safeHtml")
_JSON_TIME = "2006-01-02T15:04:05.999999999Z07:00"


def _join(between: str, texts: tuple[GoValue, ...]) -> str:
    return between.join(go_value(text) for text in texts)


def _in_zone(zone: str, time: Time) -> Time:
    return Time(time.nanoseconds, zone_of(zone or "UTC"))


def _json(value: GoValue) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=not isinstance(value, Own))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")  # as Go writes them


def _plain(value: GoValue) -> Any:
    """Return a value as JSON has it. The fields of records begin with a small letter, except those of pairs."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in sorted(value.items())}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Time):
        return call_method(value, "Format", [_JSON_TIME])
    if isinstance(value, Pair):
        return {"Name": value.Name, "Value": value.Value}
    if isinstance(value, Own):
        return {name[0].lower() + name[1:]: _plain(getattr(value, name)) for name in value.go_fields}
    return value


def _humanize(value: GoValue) -> str:
    return humanize_duration(value.nanoseconds / 1e9 if isinstance(value, Duration) else number(value))


def functions(now: Callable[[], float]) -> dict[str, Function]:
    """Return the functions by name. `now` gives unix seconds."""
    return {
        **GO_FUNCTIONS,
        **{name: RULE_FUNCTIONS[name] for name in _SHARED},
        "safeUrl": Function(lambda text: text, ("text",)),
        "urlUnescape": Function(unquote_plus, ("text",)),
        "toJson": Function(_json),
        "trimSpace": Function(lambda text: text.strip(), ("text",)),
        "join": Function(_join, ("text", "list")),
        "stringSlice": Function(lambda *texts: texts, (), more="text"),
        "date": Function(lambda layout, time: call_method(time, "Format", [layout]), ("text", "time")),
        "tz": Function(_in_zone, ("text", "time")),
        "since": Function(lambda time: Duration(round(now() * 1e6) * 1000 - time.nanoseconds), ("time",)),
        "humanizeDuration": Function(_humanize),
    }
