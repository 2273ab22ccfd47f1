"""The metric families of a gateway: names, kinds, labels and bucket bounds.

Names that begin with `llm_` are canonical (collectors/catalogue/catalogue.yaml) and carry `source="gateway"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from zlib import crc32


class Kind(StrEnum):
    """Type of a family in the text exposition."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """The way to make one gauge of the gauges of several processes."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `bounds` are the upper bounds of a histogram's buckets, without +Inf. Seconds, if the
    name says nothing else."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = Merge.SUM
    keeps: bool = False
    """Whether a gauge keeps its value when its process is replaced."""

    @property
    def cells(self) -> int:
        """Number of float64 cells of one series. A histogram has one for each bucket with +Inf, and one for the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def canonical(self) -> bool:
        """Whether the name is in the catalogue."""
        return self.name.startswith("llm_")


DURATION_BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""The bounds of collectors/probe/source.py, and more at both ends: a gateway also sees embeddings and long answers."""
FIRST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
"""The probe's bounds, and more at both ends."""
GAP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
"""vLLM's range of inter-token latencies (0.01 to 2.5), and more below, where several tokens come in one read."""
QUEUE_BOUNDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
LAG_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

# Bounds for comparisons of two versions: six in a decade, because a rank test loses power where half of the samples
# share a bucket. One request is one sample.
ANSWER_FIRST_BOUNDS = (
    *(0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0),
)
ANSWER_DURATION_BOUNDS = (
    *(0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    *(10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 300.0, 600.0),
)
EACH_TOKEN_BOUNDS = (
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1.0),
)
TOKEN_BOUNDS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 500.0, 700.0),
    *(1000.0, 1500.0, 2000.0, 3000.0, 5000.0, 10_000.0, 20_000.0),
)
"""Numbers of tokens."""
PROMPT_BOUNDS = (512, 4096, 32_768)
"""Most tokens of a prompt in each stratum but the last. Chosen: chat, documents, long documents, and more."""
PROMPTS = ("0-512", "513-4096", "4097-32768", "32769-")
"""Values of the label `prompt`."""

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_VERSION = ("model", "version")
_BACKEND = ("model", "version", "backend")
_ANSWER = ("model", "version", "traffic", "prompt")

REQUESTS = Family(
    "llm_requests_total",
    _C,
    "Finished requests by outcome. Invalid requests, and refusals for a caller's own limit, are not among them.",
    (*_BACKEND, "outcome"),
)
DURATION = Family(
    "llm_request_duration_seconds",
    _H,
    "Time from a request's arrival to the end of its answer. A timeout counts as longer than any bound.",
    _VERSION,
    DURATION_BOUNDS,
)
FIRST = Family(
    "llm_time_to_first_token_seconds",
    _H,
    "Time from a request's arrival to the first event of its answer.",
    _VERSION,
    FIRST_BOUNDS,
)
PER_TOKEN = Family(
    "llm_time_per_output_token_seconds",
    _H,
    "Mean time per output token of one streamed request, the first token excluded.",
    _VERSION,
    GAP_BOUNDS,
)
GAP = Family(
    "llm_inter_token_latency_seconds", _H, "Time between two pieces of one streamed answer.", _VERSION, GAP_BOUNDS
)
QUEUE = Family(
    "llm_queue_duration_seconds", _H, "Time that a request waited in the gateway's queue.", _VERSION, QUEUE_BOUNDS
)
TOKENS = Family(
    "llm_tokens_total", _C, "Tokens by type: input, output, or input_cached (a part of input).", (*_VERSION, "type")
)
RUNNING = Family("llm_requests_running", _G, "Requests that were sent to a backend and have not ended.", _BACKEND)
WAITING = Family("llm_requests_waiting", _G, "Requests in the gateway's queue.", ("model",))

_P = "controlplane_gateway_"
ATTEMPTS = Family(f"{_P}attempts_total", _C, "Attempts sent to a backend: requests, retries and hedges.", _BACKEND)
RETRIES = Family(
    f"{_P}retries_total", _C, "Attempts that failed before their first event and were followed by another.",
    (*_BACKEND, "reason"),
)  # fmt: skip
FAULTS = Family(f"{_P}faults_total", _C, "Requests that an engine failed, by reason.", (*_BACKEND, "reason"))
REFUSALS = Family(f"{_P}refusals_total", _C, "Requests that the gateway itself refused, by kind.", ("model", "kind"))
INVALID = Family(
    f"{_P}invalid_requests_total", _C, "Requests that were wrong. With a model: an engine said so.", _VERSION
)
EJECTIONS = Family(f"{_P}ejections_total", _C, "Times that a backend was ejected.", _BACKEND)
EJECTED = Family(f"{_P}ejected", _G, "1 while at least one worker has ejected the backend.", _BACKEND, merge=Merge.MAX)
VETOED = Family(
    f"{_P}vetoed", _G, "1 while the backend gets no request because its own metrics say that it is full.", ("backend",)
)
HEDGES = Family(f"{_P}hedges_total", _C, "Second attempts that were sent because the first event was late.", _VERSION)
MIRRORED = Family(
    f"{_P}mirrored_requests_total", _C, "Copies of requests whose answers were thrown away.", (*_VERSION, "outcome")
)
ANSWERS = Family(
    f"{_P}answers_total", _C, "Whole answers that are text, by the reason of their end.", (*_ANSWER, "finish")
)
EMPTY = Family(f"{_P}empty_answers_total", _C, "Whole answers without anything but white space.", _ANSWER)
REFUSED = Family(
    f"{_P}refused_answers_total",
    _C,
    "Whole answers that a filter ended, or that the engine marks as refusals.",
    _ANSWER,
)
ANSWER_FIRST = Family(
    f"{_P}answer_first_token_seconds",
    _H,
    "Time to the first event of a whole streamed answer.",
    _ANSWER,
    ANSWER_FIRST_BOUNDS,
)
ANSWER_DURATION = Family(
    f"{_P}answer_duration_seconds", _H, "Duration of a request with a whole answer.", _ANSWER, ANSWER_DURATION_BOUNDS
)
EACH_TOKEN = Family(
    f"{_P}answer_seconds_per_token", _H, "Mean time per token after the first one of a whole streamed answer.",
    _ANSWER, EACH_TOKEN_BOUNDS,
)  # fmt: skip
ANSWER_TOKENS = Family(f"{_P}answer_tokens", _H, "Tokens of a whole answer.", _ANSWER, TOKEN_BOUNDS)
CACHE = Family(f"{_P}cache_lookups_total", _C, "Lookups in the response cache.", ("model", "result"))
DEGRADED = Family(
    f"{_P}degraded_requests_total", _C, "Requests that another model answered.", ("model", "degraded_from")
)
ESTIMATED = Family(
    f"{_P}estimated_requests_total", _C, "Requests whose tokens were estimated: the engine reported none.", _VERSION
)
CUT_TOKENS = Family(f"{_P}cut_tokens_total", _C, "Output tokens of answers that broke off.", _BACKEND)
LOST = Family(f"{_P}lost_requests_total", _C, "Requests that were open in a worker that died. Each counts as cut.")
TENANT_REQUESTS = Family(
    f"{_P}tenant_requests_total", _C, "Requests by tenant. Tenants beyond the limit are `other`.", ("tenant", "outcome")
)
TENANT_TOKENS = Family(
    f"{_P}tenant_tokens_total", _C, "Tokens by tenant. Tenants beyond the limit are `other`.", ("tenant", "type")
)
CONNECTIONS = Family(f"{_P}connections", _G, "Open connections of clients.")
LAG = Family(f"{_P}loop_lag_seconds", _H, "Lateness of a timer of a worker's event loop.", (), LAG_BOUNDS)
GENERATION = Family(
    f"{_P}generation", _G, "Generation of a model's split that all workers apply.", ("model",), merge=Merge.MIN
)
WORKERS = Family(f"{_P}workers", _G, "Workers that accept connections and apply the desired state in force.")
RESTARTS = Family(f"{_P}worker_restarts_total", _C, "Workers that ended by themselves and were replaced.")
DESIRED_FAULT = Family(f"{_P}desired_fault", _G, "1 while the newest desired state cannot be got or is refused.")
JOURNAL_RECORDS = Family(f"{_P}journal_records_total", _C, "Usage records that were written to the journal.")
JOURNAL_LOST = Family(
    f"{_P}journal_lost_records_total", _C, "Usage records that could not be written, by reason.", ("reason",)
)
SHIPPED = Family(f"{_P}journal_shipped_records_total", _C, "Usage records that the control plane has acknowledged.")
JOURNAL_BYTES = Family(f"{_P}journal_bytes", _G, "Bytes of the journal that wait to be shipped.")
JOURNAL_AGE = Family(f"{_P}journal_age_seconds", _G, "Age of the oldest usage record that was not shipped.")
SPANS = Family(f"{_P}spans_total", _C, "Spans by fate: exported, or dropped by reason.", ("fate",))
SERIES_REFUSED = Family(f"{_P}series_refused", _G, "Series that found no place in the memory for metrics.", keeps=True)

FAMILIES: Mapping[str, Family] = MappingProxyType({
    family.name: family
    for family in (
        *(REQUESTS, DURATION, FIRST, PER_TOKEN, GAP, QUEUE, TOKENS, RUNNING, WAITING),
        *(ATTEMPTS, RETRIES, FAULTS, REFUSALS, INVALID, EJECTIONS, EJECTED, HEDGES, MIRRORED),
        *(ANSWERS, EMPTY, REFUSED, ANSWER_FIRST, ANSWER_DURATION, EACH_TOKEN, ANSWER_TOKENS, CACHE, DEGRADED),
        *(ESTIMATED, CUT_TOKENS, LOST, TENANT_REQUESTS, TENANT_TOKENS, CONNECTIONS, LAG, GENERATION),
        *(WORKERS, RESTARTS, DESIRED_FAULT, VETOED),
        *(JOURNAL_RECORDS, JOURNAL_LOST, SHIPPED, JOURNAL_BYTES, JOURNAL_AGE, SPANS, SERIES_REFUSED),
    )
})  # fmt: skip
"""All families by name, in the order of the exposition."""

FINGERPRINT = crc32(repr(tuple(FAMILIES.values())).encode()) + 1
"""Differs for each set of families, so that no release reads the cells of another. Never 0, which is empty memory."""
