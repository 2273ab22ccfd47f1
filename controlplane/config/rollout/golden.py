"""`golden:` of a rollout: prompts with expected answers, in fleet.yaml or in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.document import dotted, parse_document
from controlplane.config.reading import read_section
from controlplane.config.remote import ServerUrl
from controlplane.config.rollout.steps import Ratio
from controlplane.config.verify import Path as RequestPath
from controlplane.config.vocabulary import FilePath, Interval, Model, Text, json_data, whole_text
from controlplane.errors import ConfigError, ConfigErrors

MAX_PROMPTS = 200
MAX_BYTES = 256 * 1024
"""Maximum size of a golden set. Every rollout stores it, so that an edited file does not change a running rollout."""
Prompt = Annotated[str, AfterValidator(whole_text), Field(min_length=1, max_length=64 * 1024)]
"""A prompt, which may have line breaks."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema unchanged. Raises ValueError for one that cannot be used."""
    try:
        jsonschema_rs.validator_for(value, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except ValueError as error:
        raise ValueError(f"is no JSON schema: {str(error).splitlines()[0]}") from None
    return value


Prompts = Annotated[tuple[Prompt, ...], BeforeValidator(_listed), Field(max_length=100)]
"""A list of texts, or one text."""


class ExpectSection(Model):
    """The expected properties of an answer. All that are given must hold."""

    contains: Prompts = ()
    lacks: Prompts = ()
    regex: Prompt | None = None
    exact: Annotated[str, AfterValidator(whole_text)] | None = None
    json_schema: Annotated[dict[str, Any], AfterValidator(json_data), AfterValidator(_schema)] | None = None
    at_least_characters: int | None = Field(default=None, ge=1)
    at_most_characters: int | None = Field(default=None, ge=0)
    judged: Prompt | None = None
    """A criterion in words. The judge decides it."""

    @check
    def _expects_something(self) -> Iterator[Fault]:
        if all(getattr(self, name) in (None, ()) for name in type(self).model_fields):
            yield Fault((), f"needs one of {', '.join(type(self).model_fields)}; without it any answer would pass")

    @check
    def _lengths_fit(self) -> Iterator[Fault]:
        least, most = self.at_least_characters, self.at_most_characters
        if least is not None and most is not None and least > most:
            yield Fault(("at_least_characters",), f"{least} is more than at_most_characters ({most})")


class GoldenPromptSection(Model):
    """One prompt, and the properties that its answer must have."""

    name: Text | None = None
    """Default: `prompt` and its number."""
    prompt: Prompt | None = None
    body: Annotated[dict[str, Any], AfterValidator(json_data)] | None = None
    """Instead of `prompt`: the whole JSON body of the request."""
    path: RequestPath | None = None
    expect: ExpectSection
    timeout: Interval = 60.0

    @check
    def _asks_something(self) -> Iterator[Fault]:
        if (self.prompt is None) == (self.body is None):
            yield Fault((), "needs one of prompt:, body:")


class JudgeSection(Model):
    """An OpenAI-compatible endpoint that judges answers."""

    url: ServerUrl
    model: Text
    key_file: FilePath | None = None
    key_env: Text | None = None
    timeout: Interval = 60.0

    @check
    def _one_key(self) -> Iterator[Fault]:
        if self.key_file and self.key_env:
            yield Fault((), "key_file: and key_env: cannot both be given")


class GoldenSection(Model):
    """The quality gate."""

    prompts: tuple[GoldenPromptSection, ...] = ()
    file: FilePath | None = None
    """YAML or JSON with `prompts:`, or JSONL with one prompt a line. It is read when a rollout is planned."""
    pass_ratio: Annotated[Ratio, Field(gt=0)] = 1.0
    judge: JudgeSection | None = None
    dry_run: bool = False
    excerpt_characters: int = Field(default=0, ge=0, le=500, strict=True)
    """Most characters of a failed answer that are kept with the result."""

    @check
    def _has_prompts(self) -> Iterator[Fault]:
        if bool(self.prompts) == (self.file is not None):
            yield Fault((), "needs one of prompts:, file:")

    @check
    def _prompts_are_sound(self) -> Iterator[Fault]:
        for fault in prompt_faults(self.prompts, judged=self.judge is not None):
            yield Fault(("prompts", *fault.loc), fault.sentence)


class GoldenFile(Model):
    """A file with a golden set."""

    prompts: Annotated[tuple[GoldenPromptSection, ...], Field(min_length=1)]


def prompt_faults(prompts: tuple[GoldenPromptSection, ...], *, judged: bool) -> Iterator[Fault]:
    """Yield the faults of a golden set. `judged`: there is a judge."""
    if len(prompts) > MAX_PROMPTS:
        yield Fault((), f"expected at most {MAX_PROMPTS} prompts, got {len(prompts)}")
    seen: set[str] = set()
    for number, one in enumerate(prompts):
        if one.reads("name") and one.name in seen:
            yield Fault((number, "name"), f"{one.name!r} is the name of an earlier prompt")
        elif one.reads("name") and one.name:
            seen.add(one.name)
        if one.reads("expect") and one.expect.reads("judged") and one.expect.judged and not judged:
            yield Fault((number, "expect", "judged"), "needs golden.judge:, which is not set")


def read_golden(section: GoldenSection) -> tuple[GoldenPromptSection, ...]:
    """Return the prompts of a section, from its file if it names one. Blocking.

    Raises ConfigErrors with the faults of the file, each with its line.
    """
    if section.file is None:
        return section.prompts
    path = section.file
    text = _content(path)
    read = _json_lines if path.suffix in (".jsonl", ".ndjson") else _document
    prompts, errors = read(text, path)
    errors += [
        ConfigError(fault.sentence, file=path, field=dotted(("prompts", *fault.loc)))
        for fault in prompt_faults(prompts, judged=section.judge is not None)
    ]
    if errors:
        raise ConfigErrors(errors)
    return prompts


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigErrors([ConfigError(f"cannot be read: {error.strerror}", file=path)]) from error
    if len(raw) > MAX_BYTES:
        raise ConfigErrors([ConfigError(f"is larger than {MAX_BYTES} bytes", file=path)])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigErrors([ConfigError("is not UTF-8", file=path, line=line)]) from error


def _document(text: str, path: Path) -> tuple[tuple[GoldenPromptSection, ...], list[ConfigError]]:
    document = parse_document(text, path, fields="prompts:")
    read, faults = read_section(GoldenFile, document.data)
    return read.prompts if read.reads("prompts") else (), [document.error(*fault) for fault in faults]


def _json_lines(text: str, path: Path) -> tuple[tuple[GoldenPromptSection, ...], list[ConfigError]]:
    prompts: list[GoldenPromptSection] = []
    errors: list[ConfigError] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            errors.append(ConfigError("is not JSON; expected one map a line", file=path, line=line))
            continue
        read, faults = read_section(GoldenPromptSection, data)
        prompts.append(read)
        errors += [ConfigError(sentence, file=path, line=line, field=dotted(loc)) for loc, sentence in faults]
    if not prompts and not errors:
        errors.append(ConfigError("holds no prompt; expected one map a line", file=path))
    return tuple(prompts), errors
