"""Rules of a desired state that concern values and more than one field. A state that breaks one is refused whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from collectors.engines.kinds import BACKENDS
from controlplane.config.names import engine_paths
from controlplane.config.names.model_names import model_name
from controlplane.gateway.desired.document import WHOLE, BackendSpec, Desired, KeySpec, LimitSpec, ModelSpec
from controlplane.gateway.errors import BadDesired

BALANCES = ("least-outstanding", "two-choices", "prefix")
ROLES = ("user", "tester")
MAX_VERSIONS = 64
"""Maximum number of versions of a model. Chosen: far above what is compared at a time."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check(desired: Desired) -> None:
    """Raise BadDesired for the first rule that the state breaks."""
    for fault in _faults(desired):
        raise BadDesired(fault)


def _faults(desired: Desired) -> Iterator[str]:
    if not desired.revision:
        yield "revision: is empty"
    yield from _twice("models", (model.name for model in desired.models))
    yield from _twice("keys", (key.id for key in desired.keys))
    yield from _twice("tenants", (tenant.name for tenant in desired.tenants))
    yield from _aliases(desired.models)
    for model in desired.models:
        yield from _model(f"models.{model.name}", model)
    for key in desired.keys:
        yield from _key(f"keys.{key.id}", key)
    for tenant in desired.tenants:
        yield from _limits(f"tenants.{tenant.name}.limits", tenant.limits)
        if tenant.weight <= 0:
            yield f"tenants.{tenant.name}.weight: expected a number above 0, got {tenant.weight:g}"
    for limit, share in desired.shares.items():
        if not 0 <= share <= 1:
            yield f"shares.{limit}: expected a share from 0 to 1, got {share:g}"


def _twice(field: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if not name:
            yield f"{field}: an entry has an empty name"
        if name in seen:
            yield f"{field}: {name} is listed twice"
        seen.add(name)


def _aliases(models: Iterable[ModelSpec]) -> Iterator[str]:
    """Yield a fault for each alias that is a model's name or another alias: a request would have two models."""
    owner = {model.name: model.name for model in models}
    for model in models:
        for alias in model.aliases:
            if why := _unfit(alias):
                yield f"models.{model.name}.aliases: {alias!a} {why}"
            if alias in owner:
                yield f"models.{model.name}.aliases: {alias} already names {owner[alias]}"
            owner[alias] = model.name


def _unfit(name: str) -> str:
    """Return why a name of a model cannot be used, or ""."""
    try:
        model_name(name)
    except ValueError as error:
        return str(error)
    return ""


def _given(values: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if value is not None)


def _model(place: str, model: ModelSpec) -> Iterator[str]:
    yield from _twice(f"{place}.versions", (version.name for version in model.versions))
    if not 0 < len(model.versions) <= MAX_VERSIONS:
        yield f"{place}.versions: expected 1 to {MAX_VERSIONS} versions, got {len(model.versions)}"
    for version in model.versions:
        if not 0 <= version.weight <= WHOLE:
            yield f"{place}.versions.{version.name}.weight: expected 0 to {WHOLE}, got {version.weight}"
        for number, backend in enumerate(version.backends):
            yield from _backend(f"{place}.versions.{version.name}.backends[{number}]", backend)
    total = sum(version.weight for version in model.versions)
    if total != WHOLE:
        yield f"{place}.versions: the weights add up to {total}; expected {WHOLE}"
    if model.generation < 0:
        yield f"{place}.generation: expected a number from 0, got {model.generation}"
    if model.balance not in BALANCES:
        yield f"{place}.balance: expected one of {', '.join(BALANCES)}, got {model.balance}"
    yield from (f"{place}.paths: {path} {why}" for path in model.paths if (why := engine_paths.fault(path)))
    yield from _limits(f"{place}.limits", model.limits)
    yield from _behaviour(place, model)


def _behaviour(place: str, model: ModelSpec) -> Iterator[str]:
    waits: dict[str, float | None] = {
        "timeouts.connect_s": model.timeouts.connect_s,
        "timeouts.first_event_s": model.timeouts.first_event_s,
        "timeouts.idle_s": model.timeouts.idle_s,
        "timeouts.total_s": model.timeouts.total_s,
        "cache.ttl_s": None if model.cache is None else model.cache.ttl_s,
        "cache.max_bytes": None if model.cache is None else model.cache.max_bytes,
        "hedge.share": None if model.hedge is None else model.hedge.share,
    }
    yield from (f"{place}.{name}: expected above 0, got {v:g}" for name, v in _given(waits) if v <= 0)
    counts: dict[str, float | None] = {
        "queue.max_waiting": model.queue.max_waiting,
        "queue.max_wait_s": model.queue.max_wait_s,
        "retries": model.retries,
        "price.input_usd": model.price.input_usd,
        "price.output_usd": model.price.output_usd,
        "price.cached_usd": model.price.cached_usd,
    }
    yield from (
        f"{place}.{name}: expected 0 or more, got {v:g}" for name, v in counts.items() if v is not None and v < 0
    )
    if model.hedge is not None and not 0 < model.hedge.quantile < 1:
        yield f"{place}.hedge.quantile: expected a number between 0 and 1, got {model.hedge.quantile:g}"
    if model.mirror is not None:
        if model.mirror.version not in {version.name for version in model.versions}:
            yield f"{place}.mirror.version: {model.mirror.version} is no version of the model"
        if not 0 < model.mirror.share <= 1:
            yield f"{place}.mirror.share: expected above 0 and at most 1, got {model.mirror.share:g}"


def _backend(place: str, backend: BackendSpec) -> Iterator[str]:
    if not _is_address(backend.url) or any(character in backend.url for character in "?#"):
        yield f"{place}.url: expected http://host:port or https://host:port without ? and #, got {backend.url!r}"
    if backend.metrics and not _is_address(backend.metrics):
        yield f"{place}.metrics: expected http://host:port/path or https://host:port/path, got {backend.metrics!r}"
    if backend.engine not in BACKENDS:
        yield f"{place}.engine: expected one of {', '.join(BACKENDS)}, got {backend.engine}"
    names = (("served_model", backend.served_model), *(("adapters", name) for name in backend.adapters))
    yield from (f"{place}.{field}: {name!a} {why}" for field, name in names if (why := _unfit(name)))
    if backend.max_in_flight < 0:
        yield f"{place}.max_in_flight: expected 0 or more, got {backend.max_in_flight}"
    held = backend.credentials
    if held is not None and bool(held.file) == bool(held.env):
        yield f"{place}.credentials: expected one of file, env"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        return False


def _key(place: str, key: KeySpec) -> Iterator[str]:
    if not _DIGEST.fullmatch(key.digest):
        yield f"{place}.digest: expected 64 hexadecimal digits"
    if not key.tenant:
        yield f"{place}.tenant: is empty"
    if key.role not in ROLES:
        yield f"{place}.role: expected one of {', '.join(ROLES)}, got {key.role}"
    yield from _limits(f"{place}.limits", key.limits)


def _limits(place: str, limits: LimitSpec) -> Iterator[str]:
    """Yield a fault for each limit that is not above 0. 0 requests would be a revoked key, which is another thing."""
    values: dict[str, float | None] = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent": limits.concurrent,
        "daily_tokens": limits.daily_tokens,
        "monthly_tokens": limits.monthly_tokens,
        "daily_usd": limits.daily_usd,
        "monthly_usd": limits.monthly_usd,
    }
    yield from (f"{place}.{name}: expected above 0, got {v:g}" for name, v in _given(values) if v <= 0)
