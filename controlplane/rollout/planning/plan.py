"""Planning: the plan of a rollout, or every reason why the rollout is refused. Pure; nothing has moved yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.config.models import ModelSection
from controlplane.errors import NotFound, Refused
from controlplane.rollout.model import Plan, RolloutKind, RolloutLimits
from controlplane.rollout.options import Options
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.strategies import STRATEGIES, Setting, refusals, steps
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.traffic.driver import Capabilities, Preparation, TrafficObservation, VersionState

NO_OPTIONS = Options()
PROMOTION = "blue-green"
"""The strategy of a model without options of rollouts."""
OBSERVES = (
    "this control plane only observes (--observe-only); start it without that flag to act, and after a restoration from"
    " a backup run `controlplane backup release` first"
)


@dataclass(frozen=True)
class Request:
    """A request for a rollout."""

    model: str
    version: str
    kind: RolloutKind = RolloutKind.PROMOTE
    strategy: str = ""
    """"": the strategy of the model's `rollout:`."""
    overrides: Overrides = field(default_factory=Overrides)
    actor: str = ""
    role: str = ""
    """Role of the actor's token: operator or admin."""
    reason: str = ""
    """Why an operator rolls back."""
    quarantine: bool = True
    """Whether a rollback puts the version that it leaves in quarantine."""

    def fingerprint(self) -> str:
        """Return the text that an idempotency key is bound to. The same key with another request is a conflict."""
        # Earlier releases stored the strategy of every request, which was blue-green.
        text = f"{self.kind.value} {self.model} {self.version} {self.strategy or PROMOTION}"
        more = self.overrides.text()
        return f"{text} {more}" if more else text

    @property
    def command(self) -> str:
        """The command that makes this request, without its options."""
        verb = "promote" if self.kind is RolloutKind.PROMOTE else "rollback"
        return f"cp {verb} {self.model} {self.version}"


def reasons(
    request: Request,
    section: ModelSection,
    stable: str,
    capabilities: Capabilities | None,
    strategy_name: str,
    observe_only: bool,
    options: Options = NO_OPTIONS,
) -> list[str]:
    """Return every reason against a request that follows from the model and its driver, each with the next action.

    `capabilities` is None for a model without a driver.
    """
    model, found = request.model, []
    if observe_only:
        found.append(OBSERVES)
    if request.version not in section.versions:
        known = ", ".join(section.versions)
        found.append(f"{model} has no version {request.version}; fleet.yaml declares {known}")
    elif request.version == stable:
        found.append(f"{request.version} is already the stable version of {model}")
    strategy = STRATEGIES.get(strategy_name)
    if strategy is None:
        found.append(f"there is no strategy {strategy_name!r}; known are {' and '.join(STRATEGIES)}")
    if capabilities is None:
        found.append(f"{model} has traffic driver `none`: it is watched, but nothing can switch its versions")
    elif strategy:
        found += refusals(strategy.name, options, capabilities)
    return found


def make(
    request: Request,
    section: ModelSection,
    stable: str,
    resident: bool,
    capabilities: Capabilities,
    preparation: Preparation,
    seen: TrafficObservation,
    verification: Verification = UNTRIED,
    strategy: str = PROMOTION,
    options: Options = NO_OPTIONS,
) -> Plan:
    """Return the plan. Raises Refused when a backend does not answer, or is still loading a version."""
    urls = tuple(b.url for b in seen.backends)
    limits = RolloutLimits(section.traffic.load_timeout, section.traffic.drain_timeout, verification.watch_s)
    resident = resident and STRATEGIES[strategy].keeps
    apart = capabilities.weights and capabilities.prewarm
    made = steps(strategy, Setting(limits, verification.check, options, resident, apart), request.kind)
    against = [f"{b.url} cannot be observed: {b.error}" for b in seen.backends if not b.reachable]
    # A load of any version counts: an engine may carry out one load at a time, so the candidate would wait behind it.
    loading = [
        f"{b.url} is still loading {version} ({b.served} serves); wait until it is done"
        f"{f'. {capabilities.endless_load}' if capabilities.endless_load else ''}"
        for b in seen.backends
        for version, state in b.versions.items()
        if state is VersionState.LOADING
    ]
    notes = list(not_needed(loading)) if takes_traffic(request, capabilities, seen) else []
    against += [] if notes else loading
    against += preparation.unfit(step.weight for step in made if step.weight is not None)
    if against:
        raise Refused(*against)
    odd = [b for b in seen.backends if b.serving != stable]
    after = (
        f"{stable} will be in quarantine: nobody can promote it until an admin lifts that (or add `--no-quarantine`)"
    )
    notes += [f"{b.url} serves {b.served}, not the stable version {stable}; a rollback goes to {stable}" for b in odd]
    return Plan(
        model=request.model,
        from_version=stable,
        to_version=request.version,
        kind=request.kind,
        strategy=strategy,
        backends=urls,
        resident=resident,
        config=preparation.config,
        limits=limits,
        steps=made,
        notes=(*notes, *preparation.notes, *options.notes),
        known=(*preparation.known, *capabilities.notes, *((after,) if options.quarantine else ())),
        check=verification.check,
        endless_load=capabilities.endless_load,
        options=options,
    )


def takes_traffic(request: Request, capabilities: Capabilities, seen: TrafficObservation) -> bool:
    """Return whether a rollback only has to move weights: its target is ready on every backend.

    An engine that swaps versions must carry out a load order even then, so what speaks against that still counts.
    """
    ready = (b.reachable and b.versions.get(request.version) is VersionState.READY for b in seen.backends)
    return request.kind is RolloutKind.ROLLBACK and capabilities.weights and bool(seen.backends) and all(ready)


def not_needed(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return reasons against a promotion as notes of a rollback."""
    return tuple(f"not needed for the way back: {reason}" for reason in reasons)


def rollback_target(model: str, stable: str, previous: str | None) -> str:
    """Return the target version of a rollback. Raises Refused with the reason when there is none."""
    if previous is None:
        raise Refused(
            f"{model} has nothing to roll back to: {stable} is the first version or the target of the last rollback; "
            f"name a version with `cp promote {model} VERSION`"
        )
    return previous


def known(model: str, sections: Mapping[str, ModelSection]) -> ModelSection:
    """Return the model's section. Raises NotFound, which lists the models of fleet.yaml."""
    if model not in sections:
        raise NotFound(f"there is no model {model}; fleet.yaml declares {', '.join(sections) or 'none'}")
    return sections[model]
