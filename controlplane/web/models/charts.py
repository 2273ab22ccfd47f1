"""The charts of a model and of a rollout: PromQL over canonical metrics, with units and the limits of alert rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.fleet.numbers import QUALITY_SOURCES
from controlplane.rollout.evidence import FAILED
from controlplane.web.languages import noted as _

FAILURES = "|".join(sorted(FAILED))


@dataclass(frozen=True)
class Chart:
    """One chart. `$window` in an expression is the window of rates that fits the range shown."""

    caption: str
    """English; the template translates it."""
    queries: tuple[Mapping[str, str], ...]
    """Each has `expr`, and as `legend` the names of the labels that tell its series apart, separated by spaces."""
    unit: str = ""
    thresholds: tuple[Mapping[str, float], ...] = ()
    most: float | None = None
    """Upper end of the scale. None: the data's."""
    hint: str = ""


@dataclass(frozen=True)
class Scope:
    """A model, and the versions of it that are shown. No version: all."""

    model: str
    versions: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    """Limits of the built-in rules by their names in fleet.yaml, as `alerts.packs.threshold_values` returns them."""

    def series(self, metric: str, *more: str) -> str:
        """Return the selector of a metric's series."""
        matchers = [f'model="{self.model}"']
        if self.versions:
            matchers.append(f'version=~"{"|".join(version.replace(".", "[.]") for version in self.versions)}"')
        return f"{metric}{{{', '.join([*matchers, *more])}}}"

    def line(self, name: str) -> tuple[Mapping[str, float], ...]:
        """Return the threshold of a built-in rule."""
        return ({"value": self.limits[name]},) if name in self.limits else ()


def of_model(scope: Scope, driver: str, *, streams: bool = True) -> Sequence[Chart]:
    """Return the eight charts of a model's page. `streams`: its time to the first token is known."""
    return (
        requests(scope),
        latency(scope),
        first_token(scope) if streams else mean(scope),
        failures(scope),
        tokens(scope),
        depth(scope),
        # Triton has no KV cache of its own, but its versions share one server.
        share(scope) if driver == "triton" else cache(scope),
        queue(scope),
    )


def of_rollout(scope: Scope) -> Sequence[Chart]:
    """Return the charts that compare a candidate with the stable version."""
    return requests(scope), latency(scope), first_token(scope), failures(scope)


def requests(scope: Scope) -> Chart:
    """Return the finished requests per second."""
    return Chart(_("Requests per second"), ({"expr": _rate(scope), "legend": "version"},), "per_second")


def share(scope: Scope) -> Chart:
    """Return each version's share of the requests."""
    expr = f"({_rate(scope)}) / scalar(sum({_rate(scope)}) > 0)"
    return Chart(_("Share of the requests"), ({"expr": expr, "legend": "version"},), "ratio", most=1.0)


def latency(scope: Scope) -> Chart:
    """Return the P99 of whole requests."""
    expr = quantile(scope, "llm_request_duration_seconds", 0.99)
    queries = ({"expr": expr, "legend": "version source"},)
    return Chart(_("P99 latency"), queries, "seconds", scope.line("latency_p99"))


def first_token(scope: Scope) -> Chart:
    """Return the P95 of the time to the first token: the quantile that LLMTimeToFirstTokenHigh watches."""
    queries = ({"expr": quantile(scope, "llm_time_to_first_token_seconds", 0.95), "legend": "version source"},)
    return Chart(_("Time to first token"), queries, "seconds", scope.line("ttft_p95"), hint=_("P95"))


def mean(scope: Scope) -> Chart:
    """Return the mean duration of requests, for engines that have no buckets, such as Triton."""
    return _mean(scope, _("Mean latency"), "llm_request_duration_seconds")


def failures(scope: Scope) -> Chart:
    """Return the failed share of the requests, from the nearest source that counts failures."""

    def failed(source: str) -> str:
        by = _each(source)
        mine = f'source="{source}"'
        some = scope.series("llm_requests_total", mine, f'outcome=~"{FAILURES}"')
        every = f"{by} (rate({scope.series('llm_requests_total', mine)}[$window]))"
        # A series of failures begins with the first one. Before it, a gateway and a probe counted 0; an engine that
        # tells none may not count them, and neither may a source that calls its outcomes unknown.
        known = scope.series("llm_requests_total", mine, 'outcome!="unknown"')
        none = "" if source == "engine" else f" or 0 * {by} (rate({known}[$window]))"
        return _worst(source, f"({by} (rate({some}[$window])){none}) / ({every} > 0)")

    queries = ({"expr": first_of(failed(source) for source in QUALITY_SOURCES), "legend": "version source"},)
    return Chart(_("Errors and timeouts"), queries, "ratio", scope.line("error_rate"))


def tokens(scope: Scope) -> Chart:
    """Return the output tokens per second."""
    return Chart(
        _("Output tokens per second"), ({"expr": token_rate(scope), "legend": "version"},), "tokens_per_second"
    )


def depth(scope: Scope) -> Chart:
    """Return the requests that run and that wait."""

    def one(word: str) -> str:
        gauge = scope.series(f"llm_requests_{word}", 'source="engine"')
        return f'label_replace(sum by (version) ({gauge}), "is", "{word}", "", "")'

    queries = tuple({"expr": one(word), "legend": "version is"} for word in ("running", "waiting"))
    return Chart(_("Running and waiting"), queries)


def cache(scope: Scope) -> Chart:
    """Return the fullest KV cache of each version."""
    expr = f"max by (version) ({scope.series('llm_kv_cache_usage_ratio')})"
    queries = ({"expr": expr, "legend": "version"},)
    return Chart(_("KV cache in use"), queries, "ratio", scope.line("kv_cache"), 1.0, _("fullest engine"))


def queue(scope: Scope) -> Chart:
    """Return the mean time that requests waited. Not every engine has buckets of it, and every one has its sum."""
    return replace(_mean(scope, _("Time in the queue"), "llm_queue_duration_seconds"), hint=_("mean"))


def quantile(scope: Scope, metric: str, q: float) -> str:
    """Return a quantile by version, from the nearest source that has one. Engines differ in their buckets."""

    def of(source: str) -> str:
        buckets = scope.series(f"{metric}_bucket", f'source="{source}"')
        whole = f"histogram_quantile({q}, sum by (version, source, engine, le) (rate({buckets}[$window])))"
        return f"max by (version, source) ({whole} >= 0)"  # NaN, of no requests, is left out

    return first_of(of(source) for source in QUALITY_SOURCES)


def token_rate(scope: Scope) -> str:
    """Return the output tokens per second by version. A gateway estimates those of an engine that reports none."""
    engine, gateway, proxy = (
        _sum(scope, "llm_tokens_total", source, 'type="output"') for source in ("engine", "gateway", "proxy")
    )
    return _or_whole(scope, first_of((engine, gateway)), proxy)


def first_of(expressions: Iterable[str]) -> str:
    """Return an expression that yields, for each version, the first of these that has a value."""
    return " or on (version) ".join(expressions)


def _mean(scope: Scope, caption: str, metric: str) -> Chart:
    """Return a chart of a histogram's sum by its count."""

    def of(part: str, source: str) -> str:
        counter = scope.series(f"{metric}_{part}", f'source="{source}"')
        return f"{_each(source)} (rate({counter}[$window]))"

    means = (_worst(source, f"{of('sum', source)} / ({of('count', source)} > 0)") for source in QUALITY_SOURCES)
    expr = first_of(means)
    return Chart(caption, ({"expr": expr, "legend": "version source"},), "seconds")


def _each(source: str) -> str:
    """Return the sum that one ratio is made of. Proxies of two kinds, one behind the other, have one each."""
    return f"sum by (version, source{', engine' if source == 'proxy' else ''})"


def _worst(source: str, ratios: str) -> str:
    """Return the greatest of the ratios of proxies of several kinds; of another source, the ratio."""
    return f"max by (version, source) ({ratios})" if source == "proxy" else ratios


def _rate(scope: Scope) -> str:
    """Return the requests per second. A gateway names each version before a client asks it: 0 stands back."""
    gateway, engine, proxy = (_sum(scope, "llm_requests_total", source) for source in ("gateway", "engine", "proxy"))
    return _or_whole(scope, first_of((f"{gateway} > 0", engine, gateway)), proxy)


def _sum(scope: Scope, metric: str, source: str, *more: str) -> str:
    counter = scope.series(metric, *more, f'source="{source}"')
    if source == "proxy":  # of two kinds, one behind the other, each counts the same requests
        return f"max by (version) (sum by (version, engine) (rate({counter}[$window])))"
    return f"sum by (version) (rate({counter}[$window]))"


def _or_whole(scope: Scope, by_version: str, whole: str) -> str:
    """Return an expression for the counts of a proxy where nothing counts by version. It counts the same requests."""
    return by_version if scope.versions else f"{by_version} or ({whole} unless on () (({by_version}) > 0))"
