"""Guesses of what the metrics of an unknown program mean, by their names, types and HELP texts. Pure.

A guess is for a person to check. Nothing is stored by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.catalogue.model import LABEL, NAME, SUFFIXES
from collectors.samples import Metadata, Series

MODEL_LABELS = ("model_name", "model", "model_id", "served_model", "requested_model", "application", "deployment")
"""Labels that are likely to hold the name of a model, the likeliest first."""
STATUS_LABELS = ("status_code", "code", "status", "outcome", "result", "finish_reason", "finished_reason", "reason")
"""Labels that are likely to tell how a request ended, the likeliest first."""
_NO_REQUESTS = (
    "error|fail|token|byte|cache|guardrail|retr(?:y|ies)|fallback|budget|limit|remaining|replica|deployment|handle|cool"
    "|abort|preempt|start|loop|size|images?|spend|router|health|received|rejection|step|iteration"
)
"""Begins of words that a count of something else than finished requests has."""
_NO_LATENCY = (
    r"first|queue|wait|per|inter|iter|size|length|tokens?|overhead|guardrail|shutdown|health|init\w*|startup|poll|loop"
    r"|update|load|compile|prefill|decode|router|api|handler|highr|deployment|failed|auth\w*|validation|db|redis"
)
"""Words that the duration of something else than a whole request has."""


@dataclass
class Family:
    """One metric of a page: its samples of all suffixes."""

    name: str
    type: str
    """counter, gauge, histogram, summary or unknown."""
    help: str
    words: str
    """Words of the name in small letters, without those of the program."""
    labels: dict[str, set[str]] = field(default_factory=dict)
    """Values of each label, without `le` and `quantile`."""


class Kind(NamedTuple):
    """Signs of a canonical metric: patterns over the words of a name."""

    metric: str
    types: tuple[str, ...]
    needs: str
    """Pattern that the words must hold."""
    never: str = ""
    prefers: tuple[str, ...] = ()
    """Patterns that make one of several candidates the likelier, the strongest first."""
    labels: Mapping[str, str] = {}
    """Canonical labels of all its samples."""


_DURATIONS = ("histogram", "summary")
_COUNTS = ("counter", "unknown")
_NOW = ("gauge", "unknown")
KINDS = (
    Kind(
        "llm_requests_total",
        _COUNTS,
        r"\b(?:requests?|responses?|queries|inferences?|predictions?|generations?)\b",
        rf"\b(?:{_NO_REQUESTS})",
        (r"\bsuccess", r"\b(?:http|proxy|finished|completed)\b", r"\brequests? (?:total|count)\b"),
    ),
    Kind(
        "llm_request_duration_seconds",
        _DURATIONS,
        r"\b(?:latency|duration|seconds|time)\b",
        rf"\b(?:{_NO_LATENCY})\b",
        (r"\b(?:e2e|end to end)\b", r"\brequest\b.*\b(?:latency|duration)\b", r"\b(?:http|predict|inference)\b"),
    ),
    Kind("llm_time_to_first_token_seconds", _DURATIONS, r"\b(?:first token|ttft)\b"),
    Kind(
        "llm_time_per_output_token_seconds",
        _DURATIONS,
        r"\b(?:per output token|time per token|tpot)\b",
        prefers=(r"\brequest\b",),
    ),
    Kind("llm_inter_token_latency_seconds", _DURATIONS, r"\b(?:inter token|iter token|itl|time between tokens)\b"),
    Kind(
        "llm_queue_duration_seconds",
        _DURATIONS,
        r"\b(?:queue|queued|queuing|waiting)\b.*\b(?:time|duration|latency|seconds)\b|\btime in queue\b",
        r"\b(?:router|size|length)\b",
        (r"\brequest\b",),
    ),
    Kind(
        "llm_requests_running",
        _NOW,
        r"\b(?:running|in ?flight|ongoing|processing|active|batch current size)\b",
        r"\b(?:waiting|queued?|replicas|latency|time|ms|seconds|tokens?|percent|ratio|workers?|threads?|lora|users|"
        r"connections|keys?)\b",
        (r"\brequests?\b|\breqs\b", r"\bhttp\b", r"\bbatch\b"),
    ),
    Kind(
        "llm_requests_waiting",
        _NOW,
        r"\b(?:waiting|queued|pending|deferred|queue size|queue len(?:gth)?|queue reqs)\b",
        r"\b(?:latency|time|ms|seconds|tokens?|clients|tasks|bytes|max|limit|router)\b",
        (r"\b(?:requests?|reqs|queries)\b",),
    ),
    Kind(
        "llm_tokens_total",
        _COUNTS,
        r"\b(?:prompt|input)\b.*\btokens?\b",
        r"\b(?:cache\w*|creation|audio|limit|remaining|failed|reused)\b",
        labels={"type": "input"},
    ),
    Kind(
        "llm_tokens_total",
        _COUNTS,
        r"\b(?:generat\w+|output|completion|predicted)\b.*\btokens?\b|\btokens? (?:generated|predicted)\b",
        r"\b(?:reasoning|audio|limit|remaining|drafts?|accepted)\b",
        labels={"type": "output"},
    ),
    Kind(
        "llm_tokens_total",
        _COUNTS,
        r"\bcached\b.*\btokens?\b|\btokens?\b.*\bcached\b",
        r"\b(?:creation|output)\b",
        labels={"type": "input_cached"},
    ),
    Kind(
        "llm_kv_cache_usage_ratio",
        _NOW,
        r"\bcache\b.*\b(?:usage|util\w*|perc\w*|fraction)\b",
        r"\b(?:cpu|hit|bytes|gb|memory|prefix)\b",
        (r"\b(?:kv|gpu)\b",),
    ),
    Kind("llm_preemptions_total", _COUNTS, r"\b(?:preempt\w+|retracted)\b"),
)
"""Guesses of canonical metrics. A family is taken by the first kind that it fits best."""
_PROGRAM_WORDS, _FEWEST_NAMES, _MOST_NAMES = 2, 3, 0.6
"""Most words of a program's name, and the number and the share of names that must begin with it. Chosen."""
_NO_PROGRAM = (
    "request",
    "requests",
    "response",
    "inference",
    "http",
    "num",
    "total",
    "queue",
    "batch",
    "model",
    "token",
)
"""Words that many names may begin with, and that say what is counted."""
_OF_ITSELF = ("process_", "python_", "go_", "promhttp_", "scrape_", "http_server_", "uvicorn_")


class Guess(NamedTuple):
    """A family that may be a canonical metric."""

    kind: Kind
    family: Family
    rivals: tuple[str, ...] = ()
    """Names that fit as well, up to three."""


def families(series: Sequence[Series], metadata: Mapping[str, Metadata]) -> list[Family]:
    """Return the families of a page in its order, without those that every process exposes."""
    found: dict[str, Family] = {}
    for one in series:
        base = _base(one.name, metadata)
        if base.startswith(_OF_ITSELF) or base.endswith("_created") or not re.match(NAME, base):
            continue
        told = metadata.get(base) or metadata.get(base.removesuffix("_total")) or Metadata("unknown", "")
        family = found.setdefault(base, Family(base, _type_of(base, told.type, one), told.help, _words(base)))
        for name, value in one.labels:
            if name not in ("le", "quantile") and re.match(LABEL, name):
                family.labels.setdefault(name, set()).add(value)
    program = program_words(found)
    for family in found.values():
        family.words = family.words.removeprefix(f"{program} ")
    return list(found.values())


def program_words(names: Collection[str]) -> str:
    """Return the words that most names begin with, at most two, such as `ray serve`; "" for names without such."""
    program: list[str] = []
    words = [_words(name).split() for name in names]
    while len(program) < _PROGRAM_WORDS:
        place = len(program)
        counts = Counter(one[place] for one in words if one[:place] == program and len(one) > place + 1)
        (word, count), *_ = counts.most_common(1) or [("", 0)]
        if word in _NO_PROGRAM or count < max(_FEWEST_NAMES, _MOST_NAMES * len(words)):
            break
        program.append(word)
    return " ".join(program)


def guesses(known: Collection[Family]) -> Iterator[Guess]:
    """Yield the likeliest family for each kind that one fits, in the order of KINDS. No family is taken twice."""
    taken: set[str] = set()
    for kind in KINDS:
        fitting = [(rank, family) for family in known if family.name not in taken and (rank := _rank(kind, family))]
        fitting.sort(key=lambda one: one[0], reverse=True)
        if fitting:
            (_, best), *others = fitting
            taken.add(best.name)
            yield Guess(kind, best, tuple(family.name for _, family in others[:3]))


def unit_factor(family: Family) -> tuple[float, str]:
    """Return the factor from a duration's unit to seconds, and how it is known: `name`, `HELP` or "" (not at all)."""
    for where, text in (("name", family.words), ("HELP", family.help.lower())):
        for factor, pattern in _UNITS:
            if re.search(pattern, text):
                return factor, where
    return 1.0, ""


def first_of(labels: Collection[str], likely: Sequence[str]) -> str:
    """Return the likeliest label, or ""."""
    return next((name for name in likely if name in labels), "")


_UNITS = (
    (1e-3, r"\b(?:ms|millis|milliseconds?)\b"),
    (1e-6, r"\b(?:us|micros|microseconds?)\b"),
    (1e-9, r"\b(?:ns|nanos|nanoseconds?)\b"),
    (1.0, r"\b(?:s|secs?|seconds?)\b"),
)


def _words(name: str) -> str:
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return re.sub(r"[_:]+", " ", apart).strip().lower()


def _base(name: str, metadata: Mapping[str, Metadata]) -> str:
    for end in SUFFIXES:
        base = name.removesuffix(end)
        if base != name and base in metadata and metadata[base].type in ("histogram", "summary", "unknown"):
            return base
    return name.removesuffix("_bucket")


def _type_of(name: str, told: str, sample: Series) -> str:
    if told != "unknown":
        return told
    labels = dict(sample.labels)
    if "le" in labels:
        return "histogram"
    if "quantile" in labels:
        return "summary"
    return "counter" if name.endswith("_total") else "unknown"


def _rank(kind: Kind, family: Family) -> tuple[int, ...]:
    """Return how well a family fits, comparable between families of one kind; () if it does not fit."""
    words = family.words
    if family.type not in kind.types or not re.search(kind.needs, words):
        return ()
    if kind.never and re.search(kind.never, words):
        return ()
    liked = tuple(int(bool(re.search(pattern, words))) for pattern in kind.prefers)
    ends = int(kind.metric == "llm_requests_total" and bool(first_of(family.labels, STATUS_LABELS)))
    return (1, ends, *liked, -len(words))
