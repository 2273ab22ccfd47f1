"""Drafts a catalogue entry for a program that the catalogue does not know, from one page of it. Pure.

Every line that is a guess has a comment `# check:`. A metric that is left out is unknown, which is better than wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from collectors.catalogue.guesses import (
    MODEL_LABELS,
    STATUS_LABELS,
    Family,
    Guess,
    families,
    first_of,
    guesses,
    program_words,
    unit_factor,
)
from collectors.samples import Metadata, Series

_MOST_TOLD = 20
"""Most families that are listed as not mapped, and most values of a label."""
_HELP_CHARS = 90
"""Most characters of a HELP text in a comment."""
_EXPECTED = ("llm_requests_total", "llm_request_duration_seconds", "llm_requests_running", "llm_requests_waiting")
"""Canonical metrics that the draft expects, where it maps them."""
_BY_STATUS = {
    "200": "success",
    "400": "invalid",
    "408": "timeout",
    "429": "rejected",
    "503": "rejected",
    "504": "timeout",
}
_BY_WORD = {
    r"ok|success\w*|stop\w*|length|completed": "success",
    r"abort\w*|cancel\w*|disconnect\w*": "aborted",
    r"timeout|deadline\w*": "timeout",
    r"reject\w*|overload\w*|throttl\w*": "rejected",
    r"invalid\w*|validation": "invalid",
    r"err\w*|fail\w*|exception": "error",
}
"""Patterns of whole values that say how a request ended."""


def draft(series: Sequence[Series], metadata: Mapping[str, Metadata]) -> str:
    """Return a catalogue entry in YAML, as under `engines:`; "" for a page without any guess."""
    known = families(series, metadata)
    found = list(guesses(known))
    if not found:
        return ""
    entry = program_words([family.name for family in known]).replace(" ", "-") or "mine"
    model = _model_label(found)
    sources: dict[str, list[str]] = {}
    for guess in found:
        sources.setdefault(guess.kind.metric, []).extend(_source(guess, model, known))
    if "llm_requests_total" not in sources:
        sources |= _counted(found)
    lines = [f"  {entry}:   # check: the name", "    note: >-"]
    lines += [
        "      Drafted from one page. Check every line against the program's documentation, then say here what its"
    ]
    lines += ["      numbers leave out."]
    if model:
        lines.append(f"    labels: {{{model}: served_model}}   # check: the label names the model")
    expected = [name for name in _EXPECTED if name in sources]
    if expected:
        lines.append(f"    expected: [{', '.join(expected)}]   # check: every installation exposes them")
    lines.append("    sources:")
    for metric, told in sources.items():
        lines += [f"      {metric}:", *told]
    mapped = {guess.family.name for guess in found} | {_failures_of(guess, known) for guess in found}
    return "\n".join([*lines, *_left_out([family for family in known if family.name not in mapped])]) + "\n"


def _model_label(found: Sequence[Guess]) -> str:
    """Return the label that names the model on most of the families; "" without one."""
    held = {name: sum(name in guess.family.labels for guess in found) for name in MODEL_LABELS}
    best = max(held, key=lambda name: held[name])
    return best if held[best] else ""


def _source(guess: Guess, model: str, known: Sequence[Family]) -> Iterator[str]:
    """Yield the lines of a guess's source, or of its two where it is a summary or has its failures beside it."""
    kind, family = guess.kind, guess.family
    for part in ("sum", "count") if family.type == "summary" else ("",):
        fields = [f"from: [{_name(f'{family.name}_{part}' if part else family.name)}]"]
        if part:
            fields.append(f"part: {part}")
        checks = [_about(guess)]
        if kind.metric.endswith("_seconds") and part != "count":
            factor, where = unit_factor(family)
            if factor != 1.0:
                fields.append(f"factor: {factor:.1e}")
            checks.append(f"unit from its {where}" if where else "the unit, seconds here, is in neither name nor HELP")
        yield from _lines(fields, checks, kind.labels, guess, model)
    if kind.metric == "llm_requests_total" and (failed := _failures_of(guess, known)):
        source = f"{{from: [{_name(failed)}], set: {{outcome: error}}, combine: sum}}"
        yield f"        - {source}   # check: requests that failed"


def _lines(
    fields: Sequence[str], checks: Sequence[str], labels: Mapping[str, str], guess: Guess, model: str
) -> Iterator[str]:
    family, requests = guess.family, guess.kind.metric == "llm_requests_total"
    status = first_of(family.labels, STATUS_LABELS) if requests else ""
    set_to = dict(labels)
    if requests:
        set_to["outcome"] = "success" if "success" in family.words else "unknown"
    others = sorted(label for label in family.labels if label not in (model, status))
    yield f"        - {fields[0]}   # check: {'; '.join(checks)}"
    for text in fields[1:]:
        yield f"          {text}"
    if set_to:
        yield f"          set: {{{', '.join(f'{name}: {value}' for name, value in set_to.items())}}}"
    if status:
        yield f"          labels: {{{status}: [outcome, reason]}}   # check: it says how a request ended"
        yield f"          values: {{outcome: {_outcomes(family.labels[status])}}}   # check: outcome of each value"
    if others:
        yield f"          combine: sum   # check: adds up over {', '.join(others)}"


def _counted(found: Sequence[Guess]) -> dict[str, list[str]]:
    """Return the source of requests that only a histogram of their durations counts."""
    duration = next((g.family for g in found if g.kind.metric == "llm_request_duration_seconds"), None)
    if duration is None:
        return {}
    line = f"        - {{from: [{_name(f'{duration.name}_count')}], set: {{outcome: unknown}}, combine: sum}}"
    return {"llm_requests_total": [f"{line}   # check: no counter of requests was found"]}


def _failures_of(guess: Guess, known: Sequence[Family]) -> str:
    """Return the family that counts failures beside one that counts successes; "" without one."""
    names = {family.name for family in known}
    ends = ("failure", "failures", "failed", "error", "errors") if "success" in guess.family.name else ()
    return next((name for end in ends if (name := guess.family.name.replace("success", end)) in names), "")


def _outcomes(values: set[str]) -> str:
    """Return the map from values of a label to outcomes, as YAML in one line."""
    if codes := sorted(value for value in values if re.fullmatch(r"[1-5]\d\d", value)):
        known, default = {**_BY_STATUS, **{code: _of_status(code) for code in codes}}, "error"
    else:
        words = sorted(value for value in values if value.isprintable() and value != "*")[:_MOST_TOLD]
        known, default = {value: _of_word(value) for value in words}, "unknown"
    pairs = [f"{json.dumps(value, ensure_ascii=False)}: {outcome}" for value, outcome in known.items()]
    return "{" + ", ".join([*pairs, f'"*": {default}']) + "}"


def _of_status(value: str) -> str:
    by_class = {"2": "success", "4": "invalid"}
    return _BY_STATUS.get(value) or ("aborted" if value == "499" else by_class.get(value[0], "error"))


def _of_word(value: str) -> str:
    return next((o for pattern, o in _BY_WORD.items() if re.fullmatch(pattern, value, re.IGNORECASE)), "unknown")


def _about(guess: Guess) -> str:
    text = _plain(guess.family.help) or "it has no HELP"
    rivals = f"; or {', '.join(guess.rivals)}" if guess.rivals else ""
    return f"{text}{rivals}"


def _plain(text: str) -> str:
    """Return a HELP text as a comment may hold it: printable, in one line, and short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _HELP_CHARS else f"{line[:_HELP_CHARS].rstrip()}…"


def _name(name: str) -> str:
    return name if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) else json.dumps(name)


def _left_out(families_left: Sequence[Family]) -> list[str]:
    if not families_left:
        return []
    more = f", and {len(families_left) - _MOST_TOLD} more" if len(families_left) > _MOST_TOLD else ""
    told = [f"    #   {family.name} ({family.type}): {_plain(family.help)}".rstrip(": ") for family in families_left]
    return [f"    # Not mapped{more}:", *told[:_MOST_TOLD]]
