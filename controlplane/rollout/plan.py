"""Planning: the plan of a rollout, or every reason why the rollout is refused. Pure; nothing has moved yet."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.config.models import ModelSection
from controlplane.errors import NotFound, Refused
from controlplane.rollout.model import Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.strategies import STRATEGIES
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.traffic.driver import Capabilities, Preparation, TrafficObservation, VersionState


@dataclass(frozen=True)
class Request:
    """A request for a rollout."""

    model: str
    version: str
    kind: RolloutKind = RolloutKind.PROMOTE
    strategy: str = "blue-green"

    def fingerprint(self) -> str:
        """Return the text that an idempotency key is bound to. The same key with another request is a conflict."""
        return f"{self.kind.value} {self.model} {self.version} {self.strategy}"


def check(
    request: Request,
    section: ModelSection,
    stable: str,
    capabilities: Capabilities | None,
    running: Rollout | None,
    observe_only: bool,
) -> None:
    """Raise Refused with every reason that is known without asking the engines, and the next action of the operator.

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
    strategy = STRATEGIES.get(request.strategy)
    if strategy is None:
        reasons.append(f"there is no strategy {request.strategy!r}; known are {' and '.join(STRATEGIES)}")
    if capabilities is None:
        reasons.append(f"{model} has traffic driver `none`: it is watched, but nothing can switch its versions")
    elif strategy and strategy.weights and not capabilities.weights:
        why = "; ".join(capabilities.notes[:1])
        reasons.append(f"strategy {strategy.name} needs weights, which this driver cannot set ({why}); use blue-green")
    elif strategy and strategy.steps is None:
        reasons.append(f"strategy {strategy.name} is not available in this release; use blue-green")
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
    """Return the plan. Raises Refused when a backend does not answer, or is still loading a version."""
    urls = tuple(b.url for b in seen.backends)
    steps = STRATEGIES[request.strategy].steps
    assert steps is not None  # check() refuses a strategy without steps
    limits = RolloutLimits(section.traffic.load_timeout, section.traffic.drain_timeout, verification.watch_s)
    reasons = [f"{b.url} cannot be observed: {b.error}" for b in seen.backends if not b.reachable]
    # A load of any version counts: an engine may carry out one load at a time, so the candidate would wait behind it.
    reasons += [
        f"{b.url} is still loading {version} ({b.served} serves); wait until it is done"
        f"{f'. {capabilities.endless_load}' if capabilities.endless_load else ''}"
        for b in seen.backends
        for version, state in b.versions.items()
        if state is VersionState.LOADING
    ]
    made = steps(limits, verification.check, capabilities.weights and capabilities.prewarm)
    reasons += preparation.unfit(step.weight for step in made if step.weight is not None)
    if reasons:
        raise Refused(*reasons)
    odd = [b for b in seen.backends if b.serving != stable]
    notes = [f"{b.url} serves {b.served}, not the stable version {stable}; a rollback goes to {stable}" for b in odd]
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
        steps=made,
        notes=(*notes, *preparation.notes),
        known=(*preparation.known, *capabilities.notes),
        check=verification.check,
        endless_load=capabilities.endless_load,
    )


def rollback_target(model: str, stable: str, previous: str | None) -> str:
    """Return the target version of a rollback. Raises Refused with the reason when there is none."""
    if previous is None:
        raise Refused(
            f"{model} has nothing to roll back to: {stable} is the first version or the target of the last rollback; "
            f"name a version with `cp promote {model} VERSION`"
        )
    return previous


def known(model: str, sections: dict[str, ModelSection]) -> ModelSection:
    """Return the model's section. Raises NotFound, which lists the models of fleet.yaml."""
    if model not in sections:
        raise NotFound(f"there is no model {model}; fleet.yaml declares {', '.join(sections) or 'none'}")
    return sections[model]
