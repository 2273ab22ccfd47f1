"""Planning: what a rollout would do, or every reason why it cannot. Pure; nothing has moved yet."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.config.models import ModelSection
from controlplane.errors import NotFound, Refused
from controlplane.rollout.model import Check, Kind, Limits, Plan, Rollout
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.traffic.driver import Capabilities, Preparation, TrafficObservation, VersionState

STRATEGIES = ("blue-green", "canary")


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    model: str
    version: str
    kind: Kind = Kind.PROMOTE
    strategy: str = "blue-green"

    def fingerprint(self) -> str:
        """What an idempotency key stands for: the same key with another request is a conflict."""
        return f"{self.kind.value} {self.model} {self.version} {self.strategy}"


def check(
    request: Request,
    section: ModelSection,
    stable: str,
    capabilities: Capabilities | None,
    running: Rollout | None,
    observe_only: bool,
) -> None:
    """Raise Refused with every reason that can be told without asking the engines, and what to do next.

    `capabilities` is None for a model without a driver.
    """
    model, reasons = request.model, []
    if observe_only:
        reasons.append("this control plane only observes (--observe-only); start it without that flag to act")
    if running is not None:
        reasons.append(
            f"rollout {running.id} of {model} to {running.plan.to_version} is running ({running.phase}); wait for it, "
            f"or `cp rollouts abort {running.id}`"
        )
    if request.version not in section.versions:
        known = ", ".join(section.versions)
        reasons.append(f"{model} has no version {request.version}; fleet.yaml declares {known}")
    elif request.version == stable:
        reasons.append(f"{request.version} is already the stable version of {model}")
    if request.strategy not in STRATEGIES:
        reasons.append(f"there is no strategy {request.strategy!r}; known are {' and '.join(STRATEGIES)}")
    if capabilities is None:
        reasons.append(f"{model} has traffic driver `none`: it is watched, but nothing can switch its versions")
    elif request.strategy == "canary" and not capabilities.weights:
        why = "; ".join(capabilities.notes[:1])
        reasons.append(f"strategy canary needs weights, which this driver cannot set ({why}); use blue-green")
    if reasons:
        raise Refused(*reasons)


def make(
    request: Request,
    section: ModelSection,
    stable: str,
    resident: bool,
    capabilities: Capabilities,
    preparation: Preparation,
    seen: TrafficObservation,
    verification: Verification = UNTRIED,
) -> Plan:
    """Return the plan. Raises Refused when a backend cannot be seen, or does not serve what it is to move from."""
    urls = tuple(b.url for b in seen.backends)
    reasons = [f"{b.url} cannot be observed: {b.error}" for b in seen.backends if not b.reachable]
    # Of any version: an engine that carries out one load at a time would not get to this one.
    reasons += [
        f"{b.url} is still loading {version} ({b.serving or 'no version'} serves); wait until it is done"
        f"{f'. {capabilities.endless_load}' if capabilities.endless_load else ''}"
        for b in seen.backends
        for version, state in b.versions.items()
        if state is VersionState.LOADING
    ]
    if reasons:
        raise Refused(*reasons)
    odd = [b for b in seen.backends if b.serving != stable]
    notes = [
        f"{b.url} serves {b.serving or 'no version'}, not the stable version {stable}; going back means {stable}"
        for b in odd
    ]
    limits = Limits(section.traffic.load_timeout, section.traffic.drain_timeout, verification.watch_s)
    return Plan(
        model=request.model,
        from_version=stable,
        to_version=request.version,
        kind=request.kind,
        strategy=request.strategy,
        backends=urls,
        resident=resident,
        config=preparation.config,
        limits=limits,
        steps=_steps(request.version, stable, resident, urls, limits, verification.check),
        notes=(*notes, *preparation.notes),
        known=(*preparation.known, *capabilities.notes),
        check=verification.check,
        endless_load=capabilities.endless_load,
    )


def rollback_target(model: str, stable: str, previous: str | None) -> str:
    """Return the version that a rollback goes to. Raises Refused with the reason when there is none."""
    if previous is None:
        raise Refused(
            f"{model} has nothing to roll back to: {stable} is where it started or was itself rolled back to; "
            f"name a version with `cp promote {model} VERSION`"
        )
    return previous


def known(model: str, sections: dict[str, ModelSection]) -> ModelSection:
    """Return the model's section. Raises NotFound naming the ones there are."""
    if model not in sections:
        raise NotFound(f"there is no model {model}; fleet.yaml declares {', '.join(sections) or 'none'}")
    return sections[model]


def _steps(
    to: str, stable: str, resident: bool, urls: tuple[str, ...], limits: Limits, check: Check
) -> tuple[str, ...]:
    where = urls[0] if len(urls) == 1 else f"{len(urls)} backends one after another ({', '.join(urls)})"
    beside = (
        f"load {to} beside {stable} on {where}, within {limits.load_s:g} s; {stable} serves until {to} is ready"
        if resident
        else f"load {to} on {where}, within {limits.load_s:g} s; {stable} serves until {to} is ready, then goes"
    )
    back = f"{stable} stays loaded meanwhile" if resident else f"going back would load {stable} again"
    return (
        beside,
        f"{_asking(to, check, len(urls))}; {back}",
        f"watch {to} for {limits.verify_s:g} s: it must serve without a break, {_watching(check)}",
        f"make {to} the stable version, also across a restart of the engine",
        f"unload {stable} when its requests are finished, waiting at most {limits.drain_s:g} s",
    )


def _asking(to: str, check: Check, backends: int) -> str:
    if check.question is None:
        return f"ask {to} nothing: fleet.yaml has neither a `verify:` nor a Triton probe for it"
    each = "" if backends == 1 else " on each"
    return (
        f"ask {to} {check.requests} times{each} with the question of {check.origin}, within "
        f"{check.question.timeout_s:g} s each; more than {check.failures} bad answers turn back"
    )


def _watching(check: Check) -> str:
    slow = "" if check.latency_s is None else f" or takes longer than {check.latency_s:g} s on average"
    return (
        f"and no alert may fire on it; it goes back when more than {100 * check.error_ratio:g}% of requests fail{slow}"
    )
