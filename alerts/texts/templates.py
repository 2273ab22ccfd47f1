"""Templates of messages: those of files, Alertmanager's default ones, and the texts of a receiver that call them."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from alerts.errors import RuleError, TemplateError
from alerts.gotemplate.execute import Plain, Steps, execute
from alerts.gotemplate.inspect import included, unknown_function
from alerts.gotemplate.nodes import Node, Parsed
from alerts.gotemplate.parser import parse
from alerts.interfaces import Message
from alerts.packs import matching_files
from alerts.texts.data import data_of
from alerts.texts.functions import functions
from alerts.texts.writing import Html, Mrkdwn
from alerts.yaml_nodes import Place, read_text, read_yaml

MAX_FILES = 100
"""Maximum number of files of templates (chosen)."""
MESSAGE_STEPS = 300_000
"""Maximum number of steps of all texts of a message together (chosen: about a second)."""
_NAMES = frozenset(functions(time.time))


class _EveryName:
    """Holds every name: the functions of a file's templates are looked at when a text calls them."""

    def __contains__(self, name: object) -> bool:
        return True


_ANY = _EveryName()
_WRITING: Mapping[str, Plain] = {"plain": Plain(), "mrkdwn": Mrkdwn(), "html": Html()}


@dataclass(frozen=True)
class TemplateSet:
    """The templates that texts may call by name. Equal files make equal sets."""

    files: tuple[tuple[str, str], ...] = ()
    """Path and text of each file, in order. A later one replaces a template of the same name."""

    @cached_property
    def _read(self) -> tuple[Mapping[str, tuple[Node, ...]], Mapping[str, tuple[str, str]], Mapping[str, RuleError]]:
        """The templates by name, path and text of the file of each, and the faults of those that cannot be executed."""
        own = (files("alerts.texts") / "default.tmpl").read_text()
        found = dict(parse(own, _NAMES, ()).defined)
        places: dict[str, tuple[str, str]] = {}
        unknown: dict[str, RuleError] = {}
        for path, text in self.files:
            try:
                parsed = parse(text, _ANY, ())
            except TemplateError as fault:
                raise RuleError(str(fault), file=path, line=_line(text, str(fault))) from fault
            for name, body in {Path(path).name: parsed.body, **parsed.defined}.items():
                found[name], places[name] = body, (path, text)
                unknown.pop(name, None)
                if why := unknown_function(body, _NAMES):
                    unknown[name] = RuleError(why, file=path, line=_line(text, why))
        return found, places, unknown

    @property
    def defined(self) -> Mapping[str, tuple[Node, ...]]:
        """The templates by name. Raises RuleError, with file and line, for a file that cannot be parsed."""
        return self._read[0]

    @property
    def unknown(self) -> Mapping[str, RuleError]:
        """The templates that call a function which is not known here, and where they do. No text may call them."""
        return self._read[2]

    @property
    def incomplete(self) -> Mapping[str, RuleError]:
        """The templates that call a template which no file defines, and where. A text that defines it may call them."""
        return {
            name: self._missing(name, missing, self.defined)
            for name in self._read[1]
            if (missing := next((each for each in included(self.defined[name]) if each not in self.defined), None))
        }

    def parsed(self, text: str) -> Parsed:
        """Return a text that may call the templates.

        Raises TemplateError for a fault in it, as when it calls a template that is not defined. Raises RuleError, with
        file and line, if it calls one of `unknown`, or a template of a file that calls one that is not defined.
        """
        own = parse(text, _NAMES, ())
        found = Parsed(own.body, {**self.defined, **own.defined})
        called, waiting = set[str](), [("", name) for name in included(own.body)]
        while waiting:
            caller, name = waiting.pop()
            if name not in found.defined:
                if caller in self._read[1] and caller not in own.defined:
                    raise self._missing(caller, name, found.defined)
                raise TemplateError(_undefined(name, found.defined))
            if name in called:
                continue
            called.add(name)
            if name in self.unknown and name not in own.defined:
                raise self.unknown[name]
            waiting += [(name, each) for each in included(found.defined[name])]
        return found

    def _missing(self, caller: str, name: str, defined: Iterable[str]) -> RuleError:
        """Return the fault of a template of a file that calls one that is not defined."""
        path, text = self._read[1][caller]
        call = re.search(rf"(?:template|block)\s+[\"`]{re.escape(name)}[\"`]", text)
        line = None if call is None else text.count("\n", 0, call.start()) + 1
        return RuleError(_undefined(name, defined), file=path, line=line)


@dataclass(frozen=True)
class OwnText:
    """One text of a receiver."""

    name: str
    """Name of its place in messages, such as `title` or `fields.0.value`; `places.py` has more of them."""
    template: str
    markup: str = "plain"
    """`plain`, `mrkdwn` or `html`: the receiver's markup at this place."""


@dataclass(frozen=True)
class OwnTexts:
    """The texts of a receiver. Equal ones make equal notifiers."""

    templates: TemplateSet
    receiver: str
    """Name of the receiver, which templates may show."""
    texts: tuple[OwnText, ...]

    @cached_property
    def _parsed(self) -> Mapping[str, Parsed]:
        return {one.name: self.templates.parsed(one.template) for one in self.texts}

    def rendered(self, message: Message, now: float) -> dict[str, str]:
        """Return the texts of a message by place, at unix second `now`. Raises TemplateError, which names the place."""
        data, known = data_of(message, self.receiver), functions(lambda: now)
        found, steps = {}, Steps(MESSAGE_STEPS)
        for one in self.texts:
            try:
                found[one.name] = execute(self._parsed[one.name], data, {}, known, _WRITING[one.markup], steps)
            except TemplateError as fault:
                raise TemplateError(f"{one.name}: {fault}") from fault
        return found


def _undefined(name: str, defined: Iterable[str]) -> str:
    """Return the sentence about a template that is not defined, with the cure."""
    near = difflib.get_close_matches(name, defined, 1)
    meant = f'; is "{near[0]}" meant?' if near else f'; write {{{{ define "{name}" }}}} in a file of `templates:`'
    return f'the template "{name}" is not defined{meant}'


def read_templates(templates: Place | None, folder: Path) -> TemplateSet:
    """Return the templates of the files that the globs of an `alertmanager.yml` name, parsed.

    Raises RuleError, with file and line.
    """
    paths = list(_matches(templates, folder))
    if templates is not None and len(paths) > MAX_FILES:
        raise templates.error(f"{len(paths)} files match; at most {MAX_FILES} may")
    found = TemplateSet(tuple((str(path), read_text(path, "a file of templates")) for path in paths))
    _ = found.defined
    return found


def patterns_without_files(templates: Place | None, folder: Path) -> Iterable[Place]:
    """Yield the entries of `templates:` that match no file now. Blocking."""
    for item in templates.items() if templates is not None and not templates.is_null else ():
        if not any(path.is_file() for path in matching_files(item.text(), folder)):
            yield item


def template_files(config: Path) -> tuple[Path, ...]:
    """Return the files of templates that an `alertmanager.yml` names now. Blocking. A faulty file names none."""
    try:
        fields = read_yaml(read_text(config, "an alertmanager.yml"), str(config)).fields()
        return tuple(_matches(fields.get("templates"), config.parent))[:MAX_FILES]
    except RuleError:
        return ()


def _matches(templates: Place | None, folder: Path) -> Iterable[Path]:
    for item in templates.items() if templates is not None and not templates.is_null else ():
        yield from (path for path in matching_files(item.text(), folder) if path.is_file())


def _line(text: str, fault: str) -> int | None:
    """Return the line of the action that a fault quotes."""
    action = fault.partition("}}")[0]
    at = text.find(action) if action.startswith("{{") else -1
    return None if at < 0 else text.count("\n", 0, at) + 1
