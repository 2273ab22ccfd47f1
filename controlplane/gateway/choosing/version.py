"""One version of a model: its replicas, who of them may get a request, and what their answers say of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from controlplane.gateway.choosing import balance
from controlplane.gateway.choosing.context import ModelContext
from controlplane.gateway.choosing.health import Verdict
from controlplane.gateway.choosing.hedging import FirstEvents
from controlplane.gateway.choosing.held import Held
from controlplane.gateway.choosing.overload.fairness import ANSWER_COST, PROMPT_COST
from controlplane.gateway.choosing.overload.queue import Queue
from controlplane.gateway.choosing.replica import REQUEST_WORK, Replica
from controlplane.gateway.choosing.ring import Ring
from controlplane.gateway.desired.document import VersionSpec
from controlplane.gateway.estimate import FIRST_ANSWER, tokens_of
from controlplane.gateway.request import Ask, Outcome

LOOK_S = 0.002
"""Age, in seconds, from which the counts of other workers are read again. Own counts are always exact. Chosen: reading
40 backends of 8 workers takes some 30 µs, which is 1.5 % of a core."""
MEAN_OVER = 32
"""Answers that the mean length is taken over, exponentially."""

_VERDICTS = {
    Outcome.OK: Verdict.GOOD,
    Outcome.ERROR: Verdict.FAILED,
    Outcome.TIMEOUT: Verdict.FAILED,
    Outcome.CUT: Verdict.FAILED,
    Outcome.REJECTED: Verdict.BUSY,
    Outcome.ABORTED: Verdict.UNDECIDED,
    Outcome.INVALID: Verdict.UNDECIDED,
}


class Version:
    """Live state of one version. `context` has what it shares with the other versions of its model."""

    def __init__(self, name: str, context: ModelContext) -> None:
        self.name = name
        self.context = context
        self.weight = 0
        self.queue = Queue(context.fairness, self._waiting_changed)
        self.first = {True: FirstEvents(), False: FirstEvents()}
        """Times to the first event of streams (True), and of whole answers."""
        self.replicas: tuple[Replica, ...] = ()
        """All replicas, the draining ones included."""
        self._accepting: list[Replica] = []
        self._in_service: list[Replica] = []
        self._due = math.inf
        """Earliest time at which an ejected replica may be tried."""
        self._limited = False
        self._ring: Ring | None = None
        self._turn = 0
        self._look_at = -math.inf
        self._expected = float(FIRST_ANSWER)
        self._line = context.line(name)

    def apply(self, spec: VersionSpec, now: float) -> None:
        """Take the backends of a desired state. Health and counts of those that stay are kept."""
        self.weight = spec.weight
        before = self.replicas
        model = self.context.spec.name
        found = [
            self.context.replicas.obtain((model, self.name, one.url, one.path_version), one) for one in spec.backends
        ]
        self.replicas = tuple(dict.fromkeys(found))
        for replica in before:
            if replica not in self.replicas:
                self._retire(replica, now)
        self._accepting = [replica for replica in self.replicas if not replica.spec.draining]
        self._limited = any(replica.spec.max_in_flight for replica in self.replicas)
        self._line.want(self._limited)
        self._ring = None
        out = sorted((one for one in self._accepting if one.health.out_until is not None), key=_end_of_ejection)
        for replica in out[: len(out) - len(self._accepting) // 2]:
            self._restore(replica, now)
        self._sort_out()

    def close(self, now: float) -> None:
        """The version is gone. Its open requests go on."""
        for replica in self.replicas:
            self._retire(replica, now)
        self.replicas = ()
        self._accepting = []
        self._line.want(False)
        self._sort_out()

    def place(self) -> bool:
        """Find the row of the queue's count. Return whether nothing is missing."""
        return self._line.place()

    def accepts(self, adapter: str) -> bool:
        """Return whether a backend takes new requests, one with the adapter if any is given."""
        return any(not adapter or adapter in replica.spec.adapters for replica in self._accepting)

    @property
    def backends(self) -> int:
        """Backends in service."""
        return len(self._in_service)

    @property
    def waiting(self) -> int:
        """Requests that wait, in all workers."""
        return len(self.queue) + self._line.others()

    def acquire(
        self,
        ask: Ask,
        tenant: str,
        now: float,
        *,
        adapter: str = "",
        without: Collection[Replica] = (),
    ) -> Held | None:
        """Acquire a backend, or return None when all are full. `without`: replicas that are left out.

        `tenant` is charged for the work, and its request may try an ejected backend. "" is nobody, for copies.
        """
        if now >= self._look_at:
            self._look(now)
        replica = None
        if self._due <= now and tenant:
            replica = self._probe(adapter, without, now)
        probe = replica is not None
        if replica is None:
            replica = self._pick(ask, adapter, without, now)
            if replica is None:
                return None
        prompt, most = tokens_of(ask)
        expected = int(self._expected)
        if most is not None and most < expected:
            expected = most
        if not replica.open(prompt + expected):
            return None
        self._turn += 1
        held = Held(self, replica, self.context.spec, ask, now, prompt, expected, tenant, adapter)
        if self._limited and tenant:
            # Only where requests may wait does it matter who was served.
            held.charged = True
            self.context.fairness.charge(tenant, PROMPT_COST * prompt + ANSWER_COST * expected)
        if probe:
            held.probe = replica.health.probe()
            self._sort_out()
        return held

    def is_free(self, now: float) -> bool:
        """Return whether a request without an adapter would get a backend at once."""
        return not self.queue and (not self._limited or any(one.has_room(0) for one in self._in_service))

    def started(self, held: Held, now: float) -> None:
        """Note the first event of an answer. It ends a probe well: the rest of a stream may take minutes."""
        if self.context.spec.hedge is not None:
            self.first[held.stream].note(now - held.since)
        if held.probe and held.probe == held.replica.health.probing:
            self._restore(held.replica, now)
            self._sort_out()
            self.context.wake()

    def released(self, held: Held, outcome: Outcome, now: float, *, connected: bool) -> None:
        """Count an attempt's end, and let its result judge the backend."""
        replica = held.replica
        replica.close(held.outstanding)
        if held.charged:
            self.context.fairness.charge(held.tenant, -held.unserved)
        if outcome is Outcome.OK and held.generated:
            self._expected += (held.generated - self._expected) / MEAN_OVER
        verdict = _VERDICTS[outcome]
        if not connected and verdict is Verdict.FAILED:
            verdict = Verdict.UNREACHED
        self._judge(held, verdict, now)
        if replica.gone:
            self.context.replicas.sweep(replica)
        self.context.drain.note(now)
        self.context.wake()

    def doubled(self, held: Held) -> None:
        """Note that a backend was given back twice. It is a fault of the caller, and harmless."""
        self.context.doubled(held.backend.url)

    def _judge(self, held: Held, verdict: Verdict, now: float) -> None:
        replica, health = held.replica, held.replica.health
        eject = health.judge(verdict, max(held.work, REQUEST_WORK), now)
        if held.probe and held.probe == health.probing:
            health.probing = 0
            if verdict is Verdict.GOOD:
                self._restore(replica, now)
            elif verdict in (Verdict.FAILED, Verdict.UNREACHED):
                health.eject(now)
            self._sort_out()
        elif eject and health.out_until is None and replica in self._accepting:
            out = len(self._accepting) - len(self._in_service)
            # At most half are out, so the last one never is.
            if 2 * (out + 1) <= len(self._accepting):
                health.eject(now)
                self.context.ejected(self.name, replica, out=True)
                self._sort_out()

    def _retire(self, replica: Replica, now: float) -> None:
        if replica.health.out_until is not None:
            self._restore(replica, now)
        self.context.replicas.retire(replica)

    def _restore(self, replica: Replica, now: float) -> None:
        replica.health.restore(now)
        self.context.ejected(self.name, replica, out=False)

    def _sort_out(self) -> None:
        """Sort the replicas into those in service and those that are out, after a change of either."""
        self._in_service = [one for one in self._accepting if one.health.out_until is None]
        self._due = min(
            (one.health.out_until for one in self._accepting if one.health.out_until and not one.health.probing),
            default=math.inf,
        )

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_S
        self.context.memory.look()
        for replica in self._in_service:
            replica.look()

    def _probe(self, adapter: str, without: Collection[Replica], now: float) -> Replica | None:
        for replica in self._accepting:
            if (
                replica.health.may_probe(now)
                and replica not in without
                and (not adapter or adapter in replica.spec.adapters)
                and replica.has_room(0)
            ):
                return replica
        return None

    def _pick(self, ask: Ask, adapter: str, without: Collection[Replica], now: float) -> Replica | None:
        among: Sequence[Replica] = self._in_service
        if adapter:
            # An ejected backend is better than none, as with the last one of a version.
            among = _having(adapter, among) or _having(adapter, self._accepting)
        if without:
            among = [one for one in among if one not in without]
        if self._limited:
            contenders = self._line.contenders()
            among = [one for one in among if one.has_room(contenders)]
        if self.context.vetoes.latest > now:
            # Vetoes of all of them say that the fleet is busy, and not whom to spare.
            among = [one for one in among if not self.context.vetoes.holds(one.spec.url, now)] or among
        if len(among) < 2:
            return among[0] if among else None
        kind = self.context.spec.balance
        if kind == "two-choices":
            return balance.better_of_two(among, self.context.draw, now)
        if kind == "prefix":
            if self._ring is None:
                self._ring = Ring(self._accepting)
            return balance.by_prefix(among, self._ring, ask.prefix, self._turn, now)
        return balance.least(among, self._turn, now)

    def _waiting_changed(self, change: int) -> None:
        self._line.publish(len(self.queue))
        self.context.waiting_changed(change)


def _having(adapter: str, among: Sequence[Replica]) -> list[Replica]:
    return [replica for replica in among if adapter in replica.spec.adapters]


def _end_of_ejection(replica: Replica) -> float:
    return replica.health.out_until or 0.0
