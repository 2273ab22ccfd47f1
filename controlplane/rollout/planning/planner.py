"""Makes plans: asks what is known about a model, its driver and the fleet, and passes it through every gate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alerts.interfaces import Clock
from controlplane.config.models import ModelSection
from controlplane.config.rollout.golden import GoldenPromptSection, read_golden
from controlplane.config.rollout.section import Gates, RolloutSection, RolloutsSection
from controlplane.errors import ConfigErrors, Refused
from controlplane.rollout.files import VersionFiles
from controlplane.rollout.findings import Finding
from controlplane.rollout.model import Plan, Rollout, RolloutKind
from controlplane.rollout.options import CanaryStep, CanaryStepKind, CheckItem, Options
from controlplane.rollout.planning import plan as planning
from controlplane.rollout.planning.building import Combined, combined, options_of, options_of_rollback
from controlplane.rollout.planning.capacity import Capacity, Fit, ServerMemory, capacity
from controlplane.rollout.planning.checklist import attest_reasons
from controlplane.rollout.planning.doubt import doubted
from controlplane.rollout.planning.freeze import Freeze, Freezes, windows
from controlplane.rollout.planning.gates import sentences
from controlplane.rollout.planning.history import loads_of
from controlplane.rollout.planning.loosening import loosened
from controlplane.rollout.planning.memory import GpuMemory, metrics_address
from controlplane.rollout.planning.order import (
    Quarantined,
    RolloutBrief,
    order_reasons,
    quarantine_reasons,
    running_reasons,
)
from controlplane.rollout.planning.permitted import applied, notes_of, replaced
from controlplane.rollout.planning.templates import fault_of
from controlplane.rollout.stored import records
from controlplane.rollout.strategies import RECREATE
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.rollout.work.checks import Checks, Queries
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import RolloutRecord
from controlplane.traffic.driver import (
    Capabilities,
    Driver,
    Preparation,
    TrafficObservation,
    VersionState,
)

HISTORY = 20
"""Number of earlier rollouts whose loads predict a downtime. Chosen."""
ADMIN = "admin"
"""The role that may take gates away."""
BESIDE = frozenset({"blue-green", "canary"})
"""Strategies that load the candidate beside the stable version."""


@dataclass(frozen=True)
class _Chosen:
    """The options of a rollout before the engines are asked."""

    strategy: str
    named: bool
    """Whether somebody named the strategy, so that it is not replaced."""
    gates: Combined
    options: Options
    notes: tuple[str, ...] = ()


class Planner:
    """Plans rollouts. It also tells the checklist what is known about a model (checks.Facts)."""

    def __init__(
        self, log: RolloutLog, clock: Clock, queries: Queries | None = None, files: VersionFiles | None = None
    ) -> None:
        """`queries` reads the metrics. None: nothing is known about memory, and no item of a checklist passes.

        `files` reads the files of versions. None: a plan says nothing about them.
        """
        self._log, self._clock, self._files = log, clock, files
        self._memory = GpuMemory(queries) if queries else None
        self.checks = Checks(queries, self, clock.now) if queries else None
        self._models: Mapping[str, ModelSection] = {}
        self._drivers: Mapping[str, Driver] = {}
        self._verifications: Mapping[str, Verification] = {}
        self._shared: Gates = RolloutsSection()
        self._freezes = Freezes()

    def update(
        self,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        verifications: Mapping[str, Verification] | None = None,
        shared: RolloutsSection | None = None,
    ) -> None:
        """Replace the configuration after a reload. Keys of the mappings are names of models."""
        shared = shared or RolloutsSection()
        self._models, self._drivers, self._verifications = models, drivers, verifications or {}
        self._shared, self._freezes = shared, Freezes(windows(shared.freeze))

    def freeze(self, model: str, at: float) -> Freeze | None:
        """Return the freeze of a model's promotions at unix second `at`, or None."""
        return self._freezes.frozen(model, at)

    def hold(self, rollout: Rollout, at: float) -> Wait | None:
        """Return the wait of a promotion that gets no further share in a freeze window at unix second `at`, or None."""
        freeze = None if rollout.plan.options.through_freeze else self.freeze(rollout.model, at)
        if freeze is None:
            return None
        return Wait(WaitKind.TIME, f"The share stays as it is: {freeze}", freeze.until)

    async def plan(
        self, request: planning.Request, quarantines: Sequence[Quarantined] = (), *, observe_only: bool = False
    ) -> Plan:
        """Return the plan. Raises NotFound, and Refused with every reason; nothing has moved then."""
        return (await self._planned(request, quarantines, observe_only))[0]

    async def dry_run(self, request: planning.Request, quarantines: Sequence[Quarantined] = ()) -> Plan:
        """Return the plan with the present state of every gate among its remarks. Raises as `plan`."""
        plan, fits = await self._planned(request, quarantines, False)
        if request.kind is RolloutKind.ROLLBACK:
            return plan
        freeze = self.freeze(plan.model, self._clock.now())
        told = sentences(plan.options, self._freezes.of(plan.model), freeze, fits, await self._checked(plan))
        return replace(plan, known=(*plan.known, *told))

    async def observe(self, model: str) -> TrafficObservation:
        """Return the model's backends, observed now."""
        driver = self._drivers.get(model)
        return await driver.observe() if driver else TrafficObservation(model, ())

    async def capacity(self, model: str, stable: str, version: str) -> Capacity:
        """Return whether `version` fits beside `stable` now."""
        return await self._fit(self._models[model], stable, version, await self.observe(model))

    def targets(self, model: str, version: str) -> tuple[str, ...]:
        """Return `host:port` of the targets with the metrics of a version's servers."""
        section = self._models.get(model)
        if section is None:
            return ()
        own = section.versions[version].backends if version in section.versions else ()
        return tuple(metrics_address(backend) for backend in (*section.traffic.backends, *own))

    async def _planned(
        self, request: planning.Request, quarantines: Sequence[Quarantined], observe_only: bool
    ) -> tuple[Plan, Capacity | None]:
        section = planning.known(request.model, self._models)
        driver = self._drivers.get(request.model)
        capabilities = driver.capabilities if driver else None
        stable = (await asyncio.to_thread(self._log.seed, request.model, section.stable)).stable
        chosen, against = await self._choose(request, section, capabilities)
        blocked = [
            *planning.reasons(request, section, stable, capabilities, chosen.strategy, observe_only, chosen.options),
            *await self._of_the_fleet(request, chosen.options, quarantines),
        ]
        if blocked:
            raise Refused(*blocked, *against)
        told: list[str] = []
        if self._files is not None:
            promotes = request.kind is RolloutKind.PROMOTE
            files, told = await self._files.of_plan(section, stable, request.version, promotes=promotes)
            against += files
        assert driver is not None  # reasons() refuses a model without one
        try:
            plan, fits = await self._of_the_engines(request, section, stable, driver, chosen)
        except Refused as refused:
            raise Refused(*against, *refused.reasons) from None
        if against:
            raise Refused(*against)
        return replace(plan, notes=(*plan.notes, *told)), fits

    async def _of_the_engines(
        self, request: planning.Request, section: ModelSection, stable: str, driver: Driver, chosen: _Chosen
    ) -> tuple[Plan, Capacity | None]:
        """Return the plan for the present state of the engines. Raises Refused with the reasons against it."""
        preparation, seen = await _prepared(request, driver)
        fits: Capacity | None = None
        if request.kind is RolloutKind.PROMOTE and chosen.strategy in (*BESIDE, RECREATE):
            fits = await self._fit(section, stable, request.version, seen)
            chosen = _with_room(request, chosen, fits)
        plan = planning.make(
            request,
            section,
            stable,
            driver.can_keep(request.version, stable),
            driver.capabilities,
            preparation,
            seen,
            self._verifications.get(request.model, UNTRIED),
            chosen.strategy,
            replace(chosen.options, notes=chosen.notes),
        )
        return await doubted(driver, plan, seen), fits

    async def _choose(
        self, request: planning.Request, section: ModelSection, capabilities: Capabilities | None = None
    ) -> tuple[_Chosen, list[str]]:
        """Return strategy and options of a request, and the reasons against its options."""
        own = section.rollout or RolloutSection()
        gates = combined(self._shared, own)
        if request.kind is RolloutKind.ROLLBACK:
            strategy = request.strategy or _way_back(own.strategy, capabilities)
            options = options_of_rollback(gates, request.reason, request.quarantine)
            actor = request.actor or "an operator"
            told = () if request.quarantine else (f"{actor} leaves the present version out of quarantine",)
            return _Chosen(strategy, True, gates, options, told), []
        given = request.overrides.section.get("strategy")
        named = request.strategy or (given if isinstance(given, str) else "")
        changed, against = applied(own, request.overrides)
        strategy = named or changed.effective_strategy
        after = replaced(gates, changed, request.overrides)
        notes = notes_of(request.overrides, request.actor or "an operator")
        for phrase in loosened(gates, after, own, changed, strategy, request.overrides.full):
            if request.role == ADMIN:
                notes.append(f"{request.actor} chose to {phrase}")
            else:
                against.append(f"only an admin may {phrase}; {request.actor} has role {request.role or 'operator'}")
        against += attest_reasons(after.checklist, request.overrides.attest, request.command)
        against += self._of_freezes(request, notes)
        against += _unreadable(changed, after)
        prompts, faults = await _golden(changed)
        options = options_of(section, changed, after, prompts, strategy, request.overrides.attested())
        checked = self._files is not None and bool(section.file_places(request.version))
        options = replace(options, through_freeze=bool(request.overrides.override_freeze), files=checked)
        if request.overrides.full and strategy == "canary":
            options = replace(options, steps=(CanaryStep(CanaryStepKind.WEIGHT, 1.0),))
        return _Chosen(strategy, bool(named), after, options, tuple(notes)), [*against, *faults]

    def _of_freezes(self, request: planning.Request, notes: list[str]) -> list[str]:
        freeze = self.freeze(request.model, self._clock.now())
        reason = request.overrides.override_freeze.strip()
        if reason and request.role != ADMIN:
            return [f"only an admin may override freeze windows; {request.actor} has role {request.role or 'operator'}"]
        if reason:
            which = f"freeze window {freeze.name} (until {freeze.end})" if freeze else "freeze windows (none held)"
            notes.append(f"{request.actor} overrode {which}: {reason}")
        elif freeze is not None:
            cure = f"`{request.command} --override-freeze REASON`"
            return [f"{freeze}; promote {request.model} later, or let an admin run {cure}"]
        return []

    async def _of_the_fleet(
        self, request: planning.Request, options: Options, quarantines: Sequence[Quarantined]
    ) -> list[str]:
        """Return the reasons of other rollouts. Raises Unreadable for a running one of this model that is damaged."""
        active = await asyncio.to_thread(self._log.active)
        for record in active:
            if record.model == request.model:
                records.from_record(record)
        running = [_brief(record) for record in active]
        if request.kind is RolloutKind.ROLLBACK:
            running = [one for one in running if one.model == request.model]
        found = running_reasons(request.model, self._models, running)
        found += quarantine_reasons(request.model, request.version, quarantines)
        if options.after:
            found += order_reasons(options.after, running, await asyncio.to_thread(self._latest, options.after))
        return found

    def _latest(self, models: Sequence[str]) -> dict[str, RolloutBrief]:
        """Return the newest finished promotion of each model. Blocking."""
        found = {}
        for model in models:
            ended = (record for record in self._log.recent(model, HISTORY) if record.finished_at is not None)
            if (last := next((r for r in ended if r.kind == RolloutKind.PROMOTE), None)) is not None:
                found[model] = _brief(last)
        return found

    async def _fit(self, section: ModelSection, stable: str, version: str, seen: TrafficObservation) -> Capacity:
        loaded = [b for b in seen.backends if b.versions.get(version) is VersionState.READY]
        if seen.backends and len(loaded) == len(seen.backends):
            return Capacity(Fit.BESIDE, f"{version} is loaded on every backend already")
        backends = section.traffic.backends
        memory = [ServerMemory(backend.url, unknown="no metrics are read here") for backend in backends]
        if self._memory is not None:
            memory = await self._memory.read(section, self._models, self._clock.now())
        recent, _ = records.readable(await asyncio.to_thread(self._log.recent, section.name, HISTORY))
        return capacity(section, stable, version, memory, loads_of(recent))

    async def _checked(self, plan: Plan) -> dict[str, Finding]:
        if self.checks is None:
            return {}
        items = plan.options.checklist
        found = await asyncio.gather(
            *(self.checks.check(item, plan.model, plan.from_version, plan.to_version) for item in items)
        )
        return {item.name: finding for item, finding in zip(items, found, strict=True)}


def _brief(record: RolloutRecord) -> RolloutBrief:
    finished = record.finished_at is not None
    return RolloutBrief(record.id, record.model, record.to_version, record.kind, record.phase, finished)


def _unreadable(rollout: RolloutSection, gates: Combined) -> list[str]:
    """Return why expressions of a request cannot be evaluated. Those of fleet.yaml were checked when it was read."""
    limits = rollout.analysis.thresholds if rollout.analysis else ()
    given = [(f"threshold {limit.name}", limit.expr, True) for limit in limits]
    given += [(f"check {item.name}", item.expr, False) for item in gates.checklist if item.expr is not None]
    faults = [(name, fault_of(expr, windowed=windowed)) for name, expr, windowed in given]
    return [f"{name} cannot be evaluated: {fault}" for name, fault in faults if fault]


async def _golden(section: RolloutSection) -> tuple[tuple[GoldenPromptSection, ...], list[str]]:
    """Return the golden set, and the faults of its file."""
    if section.golden is None:
        return (), []
    try:
        return await asyncio.to_thread(read_golden, section.golden), []
    except ConfigErrors as error:
        return (), [f"the golden set: {fault}" for fault in error.errors]


def _with_room(request: planning.Request, chosen: _Chosen, fits: Capacity) -> _Chosen:
    """Return the choice for the memory that there is. Raises Refused where it would interrupt without permission."""
    permitted = chosen.options.allow_downtime
    asked_for = any(item.builtin == "capacity" for item in chosen.options.checklist)
    command = f"`{request.command} --strategy {RECREATE} --allow-downtime`"
    if fits.fit is Fit.NEVER:
        raise Refused(fits.sentence)
    if fits.fit is Fit.UNKNOWN and asked_for and chosen.strategy in BESIDE:
        raise Refused(f"{fits.sentence}; the checklist asks for capacity")
    if chosen.strategy == RECREATE:
        if not permitted:
            raise Refused(f"strategy {RECREATE} unloads the stable version first; allow it: {command}")
        return _recreating(chosen, fits)
    if fits.fit is Fit.DRAIN:
        if not permitted or chosen.named:
            raise Refused(f"{fits.sentence}; to accept that: {command}")
        if chosen.strategy == "canary" and request.overrides.allow_downtime and request.role != ADMIN:
            raise Refused(
                f"{fits.sentence}; only an admin may leave out the steps of the canary for that; {request.actor} has "
                f"role {request.role or 'operator'}"
            )
        return _recreating(chosen, fits)
    return chosen


def _recreating(chosen: _Chosen, fits: Capacity) -> _Chosen:
    """Return the choice of a switch with downtime. What the checklist asks of the capacity is then permitted."""
    told = f"downtime is allowed: {fits.sentence}"
    items = (CheckItem(i.name, attested=told) if i.builtin == "capacity" else i for i in chosen.options.checklist)
    options = replace(chosen.options, checklist=tuple(items))
    return replace(chosen, strategy=RECREATE, options=options, notes=(*chosen.notes, fits.sentence))


def _way_back(own: str | None, capabilities: Capabilities | None) -> str:
    """Return the strategy of a rollback. `own` is that of the model's `rollout:`."""
    # The steps of a canary are for a version that is not known yet.
    if own is not None and own != "canary":
        return own
    return "rolling" if capabilities is not None and capabilities.restarts else planning.PROMOTION


async def _prepared(request: planning.Request, driver: Driver) -> tuple[Preparation, TrafficObservation]:
    """Return the driver's preparation, and its backends observed after it.

    Raises Refused, but not for a rollback whose target takes traffic at once: the reasons are notes then.
    """
    try:
        preparation = await driver.prepare(request.version)
    except Refused as refused:
        seen = await driver.observe()
        if not planning.takes_traffic(request, driver.capabilities, seen):
            raise
        return Preparation("", planning.not_needed(refused.reasons)), seen
    return preparation, await driver.observe()
