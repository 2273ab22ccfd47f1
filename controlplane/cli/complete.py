"""Shell completion: `controlplane __complete WORDS…` prints candidates for the last word, which is unfinished.

Completion is quick and silent. Names that only the control plane has are requested with a short deadline and remembered
for seconds. On any error nothing is offered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from controlplane.cli.client import ApiClient, locate
from controlplane.cli.errors import CliError
from controlplane.cli.verbs.grammar import HELP, Operand, Option, Verb
from controlplane.cli.verbs.tree import VERBS, first_words, subverbs
from controlplane.config.context import contexts_path, read_contexts
from controlplane.errors import ControlPlaneError

TIMEOUT_S = 0.8
"""Deadline of a request, in seconds: a person waits for it after pressing Tab. Chosen."""
REMEMBERED_S = 5.0
"""Seconds for which names are offered without a new request. A failed request is remembered as an empty list."""
MAX_NAMES = 500

Names = list[tuple[str, str]]
"""Candidates, each with its description."""


def complete(words: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Print the candidates for the last word, one a line."""
    try:
        lines = candidates(words or [""], environment)
    except (CliError, ControlPlaneError, OSError, ValueError, KeyError, TypeError):
        return  # an error would garble the line that is typed; the verb reports it when it runs
    for word, meaning in lines[:MAX_NAMES]:
        if word.isprintable() and meaning.isprintable():
            print(f"{word}\t{meaning}" if meaning else word)


def candidates(words: list[str], environment: Mapping[str, str]) -> Names:
    """Return the candidates for the last word. Raises CliError and ControlPlaneError."""
    # bash hands over `--output=js` as three words.
    *before, last = [word for word in words[:-1] if word != "="] + [words[-1] if words[-1] != "=" else ""]
    if not before:
        return _begin(last, ((w, _summary(w)) for w in (*first_words(), "--help", "--version")))
    subs = subverbs(before[0])
    if len(before) >= 2 and before[1] in subs:
        verb, rest = VERBS[f"{before[0]} {before[1]}"], before[2:]
    elif before[0] in VERBS:
        verb, rest = VERBS[before[0]], before[1:]
    else:
        return _begin(last, ((s, VERBS[f"{before[0]} {s}"].summary) for s in subs)) if len(before) == 1 else []
    line = Line.read(verb, rest)
    own = [(s, VERBS[f"{before[0]} {s}"].summary) for s in subs] if len(before) == 1 else []
    return _begin(last, own) + _of_line(line, last, environment)


class Line(NamedTuple):
    """The finished words after a verb."""

    verb: Verb
    operands: list[str]
    options: dict[str, str]
    waiting: Option | None
    """The option whose value comes next."""

    @classmethod
    def read(cls, verb: Verb, words: list[str]) -> Line:
        """Read finished words. Unknown options are skipped."""
        known = {spelling: option for option in (*verb.options, HELP) for spelling in option.spellings}
        operands: list[str] = []
        options: dict[str, str] = {}
        waiting: Option | None = None
        for word in words:
            name, equals, value = word.partition("=")
            if waiting is not None:
                options[waiting.name], waiting = word, None
            elif name in known:
                waiting = known[name] if known[name].metavar and not equals else None
                options[known[name].name] = value
            elif not word.startswith("-"):
                operands.append(word)
        return cls(verb, operands, options, waiting)


def _of_line(line: Line, last: str, environment: Mapping[str, str]) -> Names:
    if line.waiting is not None:
        return _begin(last, _values(line, line.waiting, environment))
    if last.startswith("--") and "=" in last:
        name, _, value = last.partition("=")
        option = next((o for o in line.verb.options if o.long == name and o.metavar), None)
        found = _begin(value, _values(line, option, environment)) if option else []
        return [(word if word.startswith(":") else f"{name}={word}", meaning) for word, meaning in found]
    if last.startswith("-"):
        left = [o for o in (*line.verb.options, HELP) if o.many or o.name not in line.options]
        return _begin(last, ((spelling, o.help) for o in left for spelling in reversed(o.spellings)))
    operand = _next_operand(line)
    return _begin(last, _values(line, operand, environment)) if operand else []


def _next_operand(line: Line) -> Operand | None:
    places = line.verb.operands
    if len(line.operands) < len(places):
        return places[len(line.operands)]
    return places[-1] if places and places[-1].many else None


def _begin(start: str, names: Iterable[tuple[str, str]]) -> Names:
    return [(word, meaning) for word, meaning in names if word.startswith((start, ":")) or not start]


def _summary(word: str) -> str:
    return VERBS[word].summary if word in VERBS else ", ".join(subverbs(word))


def _values(line: Line, of: Option | Operand, environment: Mapping[str, str]) -> Names:
    if of.choices:
        return [(choice, "") for choice in of.choices]
    finder = _FINDERS.get(of.offers)
    return finder(line, environment) if finder else []


def _contexts(_: Line, environment: Mapping[str, str]) -> Names:
    return [(name, c.url) for name, c in read_contexts(contexts_path(environment)).contexts.items()]


def _models(line: Line, environment: Mapping[str, str]) -> Names:
    return [(m["name"], f"serves {m['stable']}") for m in _ask(line, environment, "/cp/v1/models")]


def _versions(line: Line, environment: Mapping[str, str]) -> Names:
    wanted = line.operands[0] if line.operands else ""
    found = [m for m in _ask(line, environment, "/cp/v1/models") if m["name"] == wanted]
    return [(v["version"], f"{v['role']}, {v['state']}") for m in found for v in m["versions"]]


def _rollouts(line: Line, environment: Mapping[str, str]) -> Names:
    items = _ask(line, environment, "/cp/v1/rollouts?limit=20")
    models = dict.fromkeys(r["model"] for r in items)
    newest = [(model, next(f"its newest, {r['id']}" for r in items if r["model"] == model)) for model in models]
    return [*newest, *_rollout_ids(line, environment)]


def _rollout_ids(line: Line, environment: Mapping[str, str]) -> Names:
    items = _ask(line, environment, "/cp/v1/rollouts?limit=20")
    return [(r["id"], f"{r['model']} to {r['to']}: {r['phase']}") for r in items]


def _alerts(line: Line, environment: Mapping[str, str]) -> Names:
    return [(a["name"], a["state"]) for a in _ask(line, environment, "/cp/v1/alerts?limit=200")]


def _silences(line: Line, environment: Mapping[str, str]) -> Names:
    items = _ask(line, environment, "/cp/v1/silences")
    return [(one["id"], f"{','.join(one['matchers'])}: {one['comment']}") for one in items]


def _keys(line: Line, environment: Mapping[str, str]) -> Names:
    items = _ask(line, environment, "/cp/v1/keys")
    return [(key["id"], f"{key['name']} of {key['tenant']}") for key in items if not key["revoked_at"]]


def _actors(line: Line, environment: Mapping[str, str]) -> Names:
    # Without refusals, because their actors are addresses of unknown clients.
    return _distinct(line, environment, "actor")


def _actions(line: Line, environment: Mapping[str, str]) -> Names:
    return [*_distinct(line, environment, "action"), ("token.refuse", "an attempt that was refused")]


def _distinct(line: Line, environment: Mapping[str, str], field: str) -> Names:
    acts = _ask(line, environment, "/cp/v1/audit?refusals=false&limit=500")
    return [(name, "") for name in sorted({act[field] for act in acts})]


def _fields(_: Line, __: Mapping[str, str]) -> Names:
    from controlplane.config.reference import fields

    return [(field.plain, field.type) for field in fields()]


def _faults(_: Line, __: Mapping[str, str]) -> Names:
    return [(name, "") for name in ("slow-v2", "errors", "down-v2", "gpu-hot", "vram-full", "clear")]


METRICS = ("errors", "ttft", "inter-token", "duration", "truncated", "empty", "refused", "output-tokens")
"""Metrics by which a candidate is compared with the stable version."""
_FINDERS: Mapping[str, Callable[[Line, Mapping[str, str]], Names]] = {
    "contexts": _contexts,
    "models": _models,
    "versions": _versions,
    "rollouts": _rollouts,
    "rollout_ids": _rollout_ids,
    "alerts": _alerts,
    "silences": _silences,
    "keys": _keys,
    "actors": _actors,
    "actions": _actions,
    "fields": _fields,
    "faults": _faults,
    "metrics": lambda *_: [(name, "") for name in METRICS],
    "files": lambda *_: [(":files", "")],
    "folders": lambda *_: [(":folders", "")],
}


def _ask(line: Line, environment: Mapping[str, str], path: str) -> list[dict[str, Any]]:
    """Return a listing of the control plane, not older than REMEMBERED_S; empty where it does not answer."""
    place = locate(line.options.get("url"), line.options.get("context"), environment)
    if not place.token:
        return []
    file = _remembered(environment) / quote(f"{place.url}{path}", safe="")[:200]
    try:
        age = time.time() - file.stat().st_mtime
        if 0 <= age < REMEMBERED_S:
            known: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
            return known
    except (OSError, ValueError):
        pass  # nothing remembered yet, or another process is just writing it
    try:
        with ApiClient(place, TIMEOUT_S, attempts=1) as client:
            items: list[dict[str, Any]] = client.get(path)["items"]
    except CliError:
        items = []
    _remember(file, items)
    return items


def _remembered(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "controlplane" / "completion"


def _remember(file: Path, items: list[dict[str, Any]]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = file.with_name(f".{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(items), "utf-8")
        fresh.replace(file)
    except OSError:
        return  # the cache cannot be written: the next completion sends a request again
