"""The desired state from fleet.yaml, the assignments of traffic and the keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controlplane.config.gateway import GatewaySection, Limits, ModelGateway
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import Backend, triton_folder
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.config.vocabulary import Access, TlsSection
from controlplane.gateway.desired.codec import sealed
from controlplane.gateway.desired.document import (
    WHOLE,
    BackendSpec,
    CacheSpec,
    CredentialsSpec,
    Desired,
    HedgeSpec,
    KeySpec,
    LimitSpec,
    MirrorSpec,
    ModelSpec,
    PriceSpec,
    QueueSpec,
    TenantSpec,
    TimeoutSpec,
    VersionSpec,
)


@dataclass(frozen=True)
class Split:
    """The assigned weights of a model's versions, in thousandths, with the generation of the assignment."""

    generation: int
    weights: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    """Thousandths of the requests of which a version gets copies. Empty: the copies of fleet.yaml, if any."""


def build(
    models: Iterable[ModelSection],
    section: GatewaySection,
    *,
    splits: Mapping[str, Split] | None = None,
    stable: Mapping[str, str] | None = None,
    keys: Sequence[KeySpec] = (),
) -> Desired:
    """Return the desired state. `splits` and `stable` have one entry for a model; without it fleet.yaml decides.

    `stable` names the version to which requests without a version go on models that another driver moves. A model
    without a backend that gets requests is left out: a request for it is answered as one for an unknown model.
    """
    splits, stable = splits or {}, stable or {}
    made = (_model(model, splits.get(model.name), stable.get(model.name, model.stable)) for model in models)
    served = [model for model in made if model is not None]
    names = {model.name for model in served}
    state = Desired(
        revision="-",
        models=tuple(_with_known_substitutes(model, names) for model in served),
        keys=tuple(sorted(keys, key=lambda key: key.id)),
        tenants=tuple(
            TenantSpec(name, limit_spec(tenant), tenant.weight) for name, tenant in sorted(section.tenants.items())
        ),
        authentication=section.authentication == "keys",
    )
    return sealed(state)


def limit_spec(limits: Limits) -> LimitSpec:
    """Return the limits of a section."""
    return LimitSpec(**{name: getattr(limits, name) for name in Limits.model_fields})


def _model(section: ModelSection, split: Split | None, stable: str) -> ModelSpec | None:
    stable = stable if stable in section.versions else section.stable
    weights = effective(section, split, stable)
    versions = tuple(VersionSpec(n, weights.get(n, 0), b) for n, b in _backends(section, stable).items())
    if not any(version.weight and version.backends for version in versions):
        return None
    asked = section.gateway
    mirror = _mirror(section, split, {version.name for version in versions})
    return ModelSpec(
        name=section.name,
        generation=split.generation if split and isinstance(section.traffic, GatewayTraffic) else 0,
        versions=versions,
        aliases=asked.aliases,
        balance=asked.balance,
        fallbacks=asked.fallbacks,
        degrade_to=asked.degrade_to or "",
        limits=limit_spec(asked.limits),
        price=_price(asked),
        queue=QueueSpec(asked.queue.max_waiting, asked.queue.max_wait),
        timeouts=_timeouts(asked),
        retries=asked.retries,
        hedge=None if asked.hedge is None else HedgeSpec(asked.hedge.quantile, asked.hedge.share),
        cache=None if asked.cache is None else CacheSpec(asked.cache.ttl, asked.cache.max_size),
        mirror=mirror,
        paths=asked.paths,
    )


def _mirror(section: ModelSection, split: Split | None, served: set[str]) -> MirrorSpec | None:
    """Return the copies of a model's requests: those of the assignment, else those of fleet.yaml."""
    asked = section.gateway.mirror
    mirror = None if asked is None else MirrorSpec(asked.version, asked.share)
    if split is not None and isinstance(section.traffic, GatewayTraffic):
        assigned = (MirrorSpec(name, share / WHOLE) for name, share in split.mirror.items() if share)
        mirror = next(assigned, mirror)
    return mirror if mirror is not None and mirror.version in served else None


def _price(asked: ModelGateway) -> PriceSpec:
    if asked.price is None:
        return PriceSpec()
    return PriceSpec(asked.price.input_usd, asked.price.output_usd, asked.price.cached_usd)


def _timeouts(asked: ModelGateway) -> TimeoutSpec:
    limits = asked.timeouts
    return TimeoutSpec(limits.connect, limits.first_event, limits.idle, limits.total)


def effective(section: ModelSection, split: Split | None, stable: str) -> dict[str, int]:
    """Return the thousandths that gateways apply. A split that names a version outside fleet.yaml counts as none."""
    if isinstance(section.traffic, GatewayTraffic) and split is not None:
        known = {name: weight for name, weight in split.weights.items() if name in section.versions}
        if sum(known.values()) == WHOLE:
            return known
    return {stable if stable in section.versions else section.stable: WHOLE}


def _backends(section: ModelSection, stable: str) -> dict[str, tuple[BackendSpec, ...]]:
    """Return the backends of each version that has any.

    Only on driver gateway do requests to a Triton name the version: elsewhere the Triton chooses it, and a rollout
    moves that choice. There a server under `traffic:` counts as the stable version's.
    """
    shared, moved = section.traffic.backends, section.traffic.moves
    served = section.traffic.model or section.name
    found: dict[str, tuple[BackendSpec, ...]] = {}
    if isinstance(section.traffic, GatewayTraffic):
        for name, version in section.versions.items():
            folder = triton_folder(name)
            own = [_backend(b, section.served_model(name), folder, moved) for b in version.backends]
            found[name] = (*own, *(_backend(b, served, folder, moved) for b in shared))
    else:
        for name, version in section.versions.items():
            chosen = version.backends or (shared if name == stable else ())
            found[name] = tuple(_backend(b, section.served_model(name), None, moved) for b in chosen)
    return {name: backends for name, backends in found.items() if backends}


def _backend(backend: Backend, served: str, folder: str | None, moved: str | None) -> BackendSpec:
    engine = backend.engine or moved
    assert engine is not None  # the configuration requires its name
    tls = backend.tls or TlsSection()
    return BackendSpec(
        url=backend.url,
        engine=engine,
        served_model=served,
        path_version=folder or "" if engine == "triton" else "",
        credentials=credentials_spec(backend),
        ca_file=_path(tls.ca_file),
        insecure_skip_verify=tls.insecure_skip_verify,
        cert_file=_path(tls.cert_file),
        key_file=_path(tls.key_file),
        server_name=tls.server_name or "",
        max_in_flight=backend.max_in_flight or 0,
        adapters=backend.adapters,
        draining=backend.draining,
        metrics=backend.metrics or "",
    )


def _path(path: Path | None) -> str:
    return "" if path is None else str(path)


def credentials_spec(access: Access) -> CredentialsSpec | None:
    """Return the credentials of a section, by the names of their file or environment variable."""
    header, basic = access.authorization, access.basic_auth
    if header is not None:
        return CredentialsSpec(header.type, str(header.credentials_file or ""), header.credentials_env or "")
    if basic is not None:
        return CredentialsSpec(file=str(basic.password_file), username=basic.username)
    return None


def _with_known_substitutes(model: ModelSpec, names: set[str]) -> ModelSpec:
    """Return the model without substitutes that are not served."""
    return replace(
        model,
        fallbacks=tuple(name for name in model.fallbacks if name in names),
        degrade_to=model.degrade_to if model.degrade_to in names else "",
    )
