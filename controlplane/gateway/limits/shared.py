"""The limits of one worker: the face that implements `seams.Limits`."""

from __future__ import annotations

import time
from collections.abc import Callable

from controlplane.gateway.desired.document import Desired, LimitSpec, ModelSpec
from controlplane.gateway.estimate import AnswerMeans
from controlplane.gateway.limits.directory import Directory
from controlplane.gateway.limits.gauge import Gauge
from controlplane.gateway.limits.keys import Keys
from controlplane.gateway.limits.locks import ALL, DIRECTORY, Locks, stripe_of
from controlplane.gateway.limits.memory import AT_CHANGES, Memory
from controlplane.gateway.limits.over import Owner, Scope
from controlplane.gateway.limits.owners import NO_LIMITS, any_model_has_limits
from controlplane.gateway.limits.plan import Outdated, Plan
from controlplane.gateway.limits.reservation import HeldReservation, price_of
from controlplane.gateway.limits.wording import refuse
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Caller, RequestHead
from controlplane.gateway.seams import Area

MOST_PLANS = 50_000
"""Most plans kept, one for each pair of key and model that was seen. Chosen: about 50 MB."""


class SharedLimits:
    """Keys, and the limits of key, tenant and model. One for each worker; `column` is the worker's.

    `unix` returns the wall clock's time: budgets count its days and months.
    """

    def __init__(self, area: Area, column: int, *, unix: Callable[[], float] = time.time) -> None:
        self._memory = Memory(area)
        self._floats = self._memory.floats
        self._locks = Locks(self._memory)
        self._directory = Directory(self._memory, self._locks)
        self._column = column
        self._unix = unix
        self._means = AnswerMeans()
        self._keys = Keys((), required=True)
        self._key_limits: dict[str, LimitSpec] = {}
        self._tenant_limits: dict[str, LimitSpec] = {}
        self._plans: dict[tuple[str, str], Plan] = {}
        self._changes = -1.0
        self._any_model = False
        self._applied: Desired | None = None
        byte = self._locks.acquire(DIRECTORY)
        try:
            self._memory.use_column(column)
        finally:
            self._locks.release(byte)

    def apply(self, desired: Desired, now: float) -> None:
        """Replace keys and limits. What was used stays.

        Slots and shares come through the memory (`keeper.py`): a document that differs in nothing else changes nothing
        here.
        """
        applied = self._applied
        if applied is not None and applied.revision == desired.revision:
            return
        self._keys = Keys(desired.keys, required=desired.authentication)
        self._key_limits = {key.id: key.limits for key in desired.keys if key.limits != NO_LIMITS}
        self._tenant_limits = {tenant.name: tenant.limits for tenant in desired.tenants if tenant.limits != NO_LIMITS}
        self._any_model = any_model_has_limits(desired)
        self._means.keep({model.name for model in desired.models})
        self._plans.clear()
        self._applied = desired

    def authenticate(self, head: RequestHead, unix: float) -> Caller | Refusal:
        """Return the caller of `Authorization: Bearer`, `x-api-key` or `api-key`."""
        return self._keys.authenticate(head, unix)

    def reserve(
        self, caller: Caller, model: ModelSpec, prompt: int, answer: int | None, now: float
    ) -> HeldReservation | Refusal:
        """Set aside a request, its tokens, their price and a place of concurrency on all limits, or nothing."""
        learns = None
        if answer is None:
            learns = self._means
            answer = learns.of(model.name)
        plan = self._plans.get((caller.key_id, model.name))
        if plan is None or plan.price is not model.price:
            plan = self._plan(caller, model)
        money = 0.0
        if plan.gauges:
            if plan.counts_money:
                money = price_of(plan.price, prompt, answer)
            unix, tokens = self._unix(), float(prompt + answer)
            while isinstance(over := plan.take(self._locks, now, unix, tokens, money), Outdated):
                plan = self._plan(caller, model)
            if over is not None:
                return refuse(over, caller, unix)
        return HeldReservation(plan, self._locks, prompt, answer, money, learns)

    def _plan(self, caller: Caller, model: ModelSpec) -> Plan:
        changes = self._floats[AT_CHANGES]
        if changes != self._changes or len(self._plans) >= MOST_PLANS:
            self._plans.clear()
            self._changes = changes
        gauges = (
            self._gauge(Owner(Scope.KEY, caller.key_id), self._key_limits.get(caller.key_id)),
            self._gauge(Owner(Scope.TENANT, caller.tenant), self._tenant_limits.get(caller.tenant)),
            self._gauge(Owner(Scope.MODEL, model.name), model.limits),
        )
        stripe = ALL if self._any_model else stripe_of(caller.tenant)
        held = tuple(gauge for gauge in gauges if gauge is not None)
        plan = Plan(held, stripe, model.name, model.price, changes)
        self._plans[caller.key_id, model.name] = plan
        return plan

    def _gauge(self, owner: Owner, spec: LimitSpec | None) -> Gauge | None:
        if spec is None or spec == NO_LIMITS:
            return None
        # The supervisor has allotted the slot, and has freed it when a newer document has no such limit. This worker
        # holds on to the limit until it gets that document: no limit is ever without a slot.
        place = self._directory.allot([owner.limit_id])[owner.limit_id]
        return Gauge(self._memory, self._column, owner, spec, place)
