"""The limits of a document, by their owners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.gateway.desired.document import Desired, LimitSpec
from controlplane.gateway.limits.locks import ALL, stripe_of
from controlplane.gateway.limits.over import Owner, Scope

NO_LIMITS = LimitSpec()


def limits_of(desired: Desired) -> Iterator[tuple[Owner, LimitSpec]]:
    """Return all owners of a document that have a limit, with their limits."""
    for key in desired.keys:
        if key.limits != NO_LIMITS:
            yield Owner(Scope.KEY, key.id), key.limits
    for tenant in desired.tenants:
        if tenant.limits != NO_LIMITS:
            yield Owner(Scope.TENANT, tenant.name), tenant.limits
    for model in desired.models:
        if model.limits != NO_LIMITS:
            yield Owner(Scope.MODEL, model.name), model.limits


def any_model_has_limits(desired: Desired) -> bool:
    """Return whether limits of models join all tenants."""
    return any(model.limits != NO_LIMITS for model in desired.models)


def stripe_of_owner(owner: Owner, tenants: Mapping[str, str], *, joined: bool) -> int:
    """Return the stripe of locks of a limit. `tenants` has each key's tenant; `joined`: a model has limits."""
    if joined:
        return ALL
    return stripe_of(tenants[owner.name] if owner.scope is Scope.KEY else owner.name)
