"""The metrics of a simulated vLLM engine: names, labels and buckets of vLLM 0.32, as a real server exposed them."""

from __future__ import annotations

from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REQUEST_SECONDS: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
FIRST_TOKEN_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
TOKEN_SECONDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
TOKENS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
HTTP_SECONDS: Final = (0.1, 0.5, 1.0)
HTTP_HIGHR_SECONDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
FINISH_REASONS: Final = ("stop", "length", "abort", "error", "repetition")
_F = TypeVar("_F", Gauge, Counter)
_ENGINE: Final = "0"
"""vLLM's `engine` label is the data-parallel rank."""


class VllmMetrics:
    """One engine's families in a registry of its own. Children exist from the start, as vLLM's do."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._model = model_name
        ProcessCollector(registry=self.registry)
        self.running = self._gauge("num_requests_running", "Number of requests in model execution batches.")
        self.waiting = self._gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        by_reason = self._family(
            Gauge, "num_requests_waiting_by_reason", "Number of waiting requests by reason.", "reason"
        )
        self.waiting_capacity = by_reason.labels(_ENGINE, model_name, "capacity")
        by_reason.labels(_ENGINE, model_name, "deferred")
        sleep = self._family(Gauge, "engine_sleep_state", "Engine sleep state.", "sleep_state")
        for state in ("awake", "weights_offloaded", "discard_all"):
            sleep.labels(_ENGINE, model_name, state).set(state == "awake")
        self.kv_cache_usage = self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        self.prefix_queries = self._counter("prefix_cache_queries", "Prefix cache queries, in queried tokens.")
        self.prefix_hits = self._counter("prefix_cache_hits", "Prefix cache hits, in cached tokens.")
        self.preemptions = self._counter("num_preemptions", "Cumulative number of preemption from the engine.")
        self.prompt_tokens = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = self._counter("generation_tokens", "Number of generation tokens processed.")
        success = self._family(
            Counter, "request_success", "Count of successfully processed requests.", "finished_reason"
        )
        self.finished = {reason: success.labels(_ENGINE, model_name, reason) for reason in FINISH_REASONS}
        self._histograms()
        self._http()

    def _histograms(self) -> None:
        self.ttft = self._histogram("time_to_first_token_seconds", "Time to first token.", FIRST_TOKEN_SECONDS)
        self.itl = self._histogram("inter_token_latency_seconds", "Inter-token latency.", TOKEN_SECONDS)
        self.tpot = self._histogram(
            "request_time_per_output_token_seconds", "Time per output token per request.", TOKEN_SECONDS
        )
        self.e2e = self._histogram("e2e_request_latency_seconds", "End to end request latency.", REQUEST_SECONDS)
        self.queue = self._histogram("request_queue_time_seconds", "Time in the WAITING phase.", REQUEST_SECONDS)
        self.inference = self._histogram(
            "request_inference_time_seconds", "Time in the RUNNING phase.", REQUEST_SECONDS
        )
        self.prefill = self._histogram("request_prefill_time_seconds", "Time in the PREFILL phase.", REQUEST_SECONDS)
        self.decode = self._histogram("request_decode_time_seconds", "Time in the DECODE phase.", REQUEST_SECONDS)
        self.prompt_size = self._histogram("request_prompt_tokens", "Number of prefill tokens processed.", TOKENS)
        self.answer_size = self._histogram("request_generation_tokens", "Generation tokens processed.", TOKENS)

    def _http(self) -> None:
        self.http_requests = Counter(
            "http_requests",
            "Total number of requests by method, status and handler.",
            ("handler", "method", "status"),
            registry=self.registry,
        )
        self.http_seconds = Histogram(
            "http_request_duration_seconds",
            "Latency with only few buckets by handler.",
            ("handler", "method"),
            buckets=HTTP_SECONDS,
            registry=self.registry,
        )
        self.http_highr_seconds = Histogram(
            "http_request_duration_highr_seconds",
            "Latency with many buckets but no API specific labels.",
            buckets=HTTP_HIGHR_SECONDS,
            registry=self.registry,
        )

    def observe_http(self, handler: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP answer as the FastAPI instrumentation does: status by its class."""
        self.http_requests.labels(handler, method, f"{status // 100}xx").inc()
        self.http_seconds.labels(handler, method).observe(seconds)
        self.http_highr_seconds.observe(seconds)

    def exposition(self) -> bytes:
        """The text format, as /metrics answers it."""
        return generate_latest(self.registry)

    def _family(self, kind: type[_F], name: str, text: str, *labels: str) -> _F:
        return kind(f"vllm:{name}", text, ("engine", "model_name", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return self._family(Gauge, name, text).labels(_ENGINE, self._model)

    def _counter(self, name: str, text: str) -> Counter:
        return self._family(Counter, name, text).labels(_ENGINE, self._model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(f"vllm:{name}", text, ("engine", "model_name"), buckets=buckets, registry=self.registry)
        return family.labels(_ENGINE, self._model)
