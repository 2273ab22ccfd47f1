"""The events that lines of engines' logs tell, and the patterns that know these lines. Their data is patterns.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from collectors.errors import LogsError
from collectors.yaml_text import YamlError, load_values
from promql.errors import PatternError
from promql.regex import Regex

ANY = "any"
"""Engine whose patterns hold for every log: GPUs, the kernel, PyTorch."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Event(_Entry):
    """A kind of fault that logs tell."""

    severity: Literal["critical", "warning"]
    many: bool = False
    """Whether one line is no fault, and only many of them are."""
    means: str
    """One sentence for people."""
    apart: str
    """Why a line that only mentions the fault does not count."""


class _Engine(_Entry):
    also: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    events: Mapping[str, tuple[str, ...]] = {}


class _File(_Entry):
    events: Mapping[str, Event]
    engines: Mapping[str, _Engine]


@dataclass(frozen=True)
class Patterns:
    """The patterns of one engine, compiled."""

    some: Regex
    """Matches a line that tells any event. Most lines need only this one."""
    each: tuple[tuple[str, Regex], ...]
    """Event and pattern, in the order of patterns.yaml."""

    def events_in(self, line: str) -> tuple[str, ...]:
        """Return the events that a line tells, each once. The line has no container's format and no line break."""
        if not self.some.matches(line):
            return ()
        return tuple(name for name, pattern in self.each if pattern.matches(line))


@dataclass(frozen=True)
class LogCatalogue:
    """All events, and the patterns of every engine."""

    events: Mapping[str, Event]
    engines: Mapping[str, Patterns]


def load_patterns(path: Path | None = None) -> LogCatalogue:
    """Read, check and compile the patterns at `path` (None: the packaged ones).

    Raises LogsError, which names the file, the engine and the event.
    """
    resource = path or resources.files("collectors.logs") / "patterns.yaml"
    try:
        file = _File.model_validate(load_values(resource.read_text(encoding="utf-8")))
    except OSError as error:
        raise LogsError(f"{resource}: {error.strerror or error}") from error
    except YamlError as error:
        raise LogsError(f"{resource}: {error}") from error
    except UnicodeDecodeError as error:
        raise LogsError(f"{resource}: not YAML: {error}") from error
    except ValidationError as error:
        lines = [f"{resource}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise LogsError("\n".join(lines)) from error
    return LogCatalogue(file.events, {name: _compiled(name, file, str(resource)) for name in file.engines})


def _compiled(engine: str, file: _File, resource: str) -> Patterns:
    names = dict.fromkeys((ANY, engine, *file.engines[engine].also))
    if unknown := [name for name in names if name not in file.engines]:
        raise LogsError(f"{resource}: engines.{engine}.also: {unknown[0]} is not one of the engines")
    parts = [file.engines[name] for name in names]
    heads = "|".join(f"(?:{head})" for part in parts for head in part.heads)
    messages: dict[str, list[str]] = {}
    for part in parts:
        for event, patterns in part.events.items():
            if event not in file.events:
                raise LogsError(f"{resource}: engines.{engine}.events: {event} is not one of the events")
            messages.setdefault(event, []).extend(patterns)
    every = {event: "|".join(f"(?:{one})" for one in messages[event]) for event in file.events if event in messages}
    try:
        each = tuple((event, Regex(_anchored(heads, alternatives))) for event, alternatives in every.items())
        return Patterns(Regex(_anchored(heads, "|".join(every.values()))), each)
    except PatternError as error:
        raise LogsError(f"{resource}: engines.{engine}: {error}") from error


def _anchored(heads: str, messages: str) -> str:
    return rf"\s*(?:(?:{heads})\s*)*(?:{messages}).*"
