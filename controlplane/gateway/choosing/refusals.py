"""The words of choosing's refusals."""

from __future__ import annotations

from controlplane.gateway.refusal import Refusal, RefusalKind


def unknown_model(name: str) -> Refusal:
    """Return the refusal of a model that does not exist, or that the key may not ask: the two look the same."""
    return Refusal(
        RefusalKind.UNKNOWN_MODEL,
        f"The model `{name}` does not exist, or your key may not use it. GET /v1/models lists those that it may use.",
        param="model",
        code="model_not_found",
    )


def unlisted_path(model: str, path: str) -> Refusal:
    """Return the refusal of an engine's path that the model does not list."""
    return Refusal(
        RefusalKind.UNKNOWN_PATH,
        f"The path {path} does not pass to the engines of the model `{model}`. An operator can list it in the model's "
        "gateway.paths.",
        code="path_not_listed",
    )


def removed(name: str) -> Refusal:
    """Return the refusal of a request that waited for a model when the model was taken away."""
    return Refusal(
        RefusalKind.UNKNOWN_MODEL,
        f"The model `{name}` was removed while the request waited. GET /v1/models lists the models.",
        param="model",
        code="model_not_found",
    )


def no_tester(version: str) -> Refusal:
    """Return the refusal of a version's choice by a caller who is no tester."""
    return Refusal(
        RefusalKind.FORBIDDEN,
        f"Your key may not choose the version `{version}`: that needs the role tester. Leave out `x-version`, and the "
        "version in the path.",
        param="x-version",
        code="version_not_allowed",
    )


def unknown_version(model: str, version: str, names: list[str]) -> Refusal:
    """Return the refusal of a version that the model does not have."""
    return Refusal(
        RefusalKind.MALFORMED,
        f"The model `{model}` has no version `{version}`. It has {', '.join(f'`{name}`' for name in names) or 'none'}.",
        param="x-version",
        code="version_not_found",
    )


def no_backend(model: str, version: str = "") -> Refusal:
    """Return the refusal for a model, or one version of it, that has no backend for new requests."""
    of = f"the version `{version}` of the model `{model}`" if version else f"the model `{model}`"
    return Refusal(
        RefusalKind.NO_CAPACITY,
        f"No engine takes requests for {of} now: it has none, all of them drain, or its weights are 0. Retry later.",
        retry_after_s=5.0,
    )


def no_other(model: str, version: str, retry_after_s: float) -> Refusal:
    """Return the refusal of a retry: each backend of the version is full."""
    return Refusal(
        RefusalKind.NO_CAPACITY,
        f"No other engine of the version `{version}` of the model `{model}` is free for a retry.",
        retry_after_s=retry_after_s,
    )


def overloaded(model: str, why: str, retry_after_s: float) -> Refusal:
    """Return the refusal of a request that the queue does not take, or that waited too long. `why` is a sentence."""
    return Refusal(
        RefusalKind.OVERLOADED,
        f"The model `{model}` is overloaded: {why} Retry after {retry_after_s:.0f} s.",
        code="overloaded",
        retry_after_s=retry_after_s,
    )
