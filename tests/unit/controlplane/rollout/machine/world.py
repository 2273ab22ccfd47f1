"""A world for the search: backends, orders on their way, works, people. Every value is frozen and comparable.

One transition lets the world answer all that is out, kindly or with one fault, and then ticks the machine once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controlplane.errors import Conflict
from controlplane.rollout.advance import advance
from controlplane.rollout.decide import decide
from controlplane.rollout.findings import Finding, Outcome, Sample, Work, WorkKind
from controlplane.rollout.handlers.looks import noted
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Decision, Phase, Plan, Rollout, StepKind
from controlplane.rollout.orders import Order, OrderOutcome, Verb
from controlplane.rollout.running.watching import without_gap
from controlplane.rollout.steering import wishing
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

TICK_S = 6.0
"""Seconds between two ticks: longer than each waiting time of the plans here, and shorter than each deadline."""
LONG = 4
"""Number of ticks that something stays away: beyond each deadline."""
OLD, NEW = "v1", "v2"
READY, LOADING, GONE = VersionState.READY, VersionState.LOADING, VersionState.UNAVAILABLE
HOLD = Wait(WaitKind.TIME, "a freeze holds", None)


@dataclass(frozen=True)
class Server:
    """One backend as it is, whatever is seen of it."""

    splits: bool
    """Whether it splits requests by weight between servers that stay (gateway), or swaps versions (Triton)."""
    share: float = 0.0
    """Share of clients' requests that the candidate gets."""
    mirror: float = 0.0
    candidate: VersionState = GONE
    old: VersionState = READY
    away: int = 0
    """Number of ticks for which it does not answer."""
    broken: int = 0
    """Number of ticks for which the candidate's own engine is down."""

    def obey(self, order: Order) -> Server:
        """Return the server after it got a placement. It keeps orders, and repetitions change nothing."""
        if self.splits:
            share = order.share if order.serve == NEW else 0.0
            return replace(self, share=share, mirror=order.mirror, candidate=GONE if self.broken else READY)
        if order.serve == OLD:
            return replace(self, share=0.0, candidate=GONE, old=READY)
        kept = READY if OLD in order.keep else GONE
        if self.candidate is READY:
            return replace(self, share=1.0, old=kept)
        return replace(self, candidate=LOADING, old=READY if OLD in order.keep else self.old)

    def later(self, keeps: bool) -> Server:
        """Return the server one tick later: a load is done, and what was away comes back."""
        away, broken = max(0, self.away - 1), max(0, self.broken - 1)
        candidate, share, old = self.candidate, self.share, self.old
        if self.splits and candidate is not READY and self.broken == 1:
            candidate = READY
        if not self.splits and candidate is LOADING:
            candidate, share, old = READY, 1.0, old if keeps else GONE
        return replace(self, away=away, broken=broken, candidate=candidate, share=share, old=old)


class Fault(NamedTuple):
    """One thing that goes wrong, or that a person does, at one transition."""

    what: str
    at: object = None
    """The order, backend or work that it happens to."""


class Ghost(NamedTuple):
    """An order that still travels: its sender has given it up."""

    order: Order
    ticks: int


@dataclass(frozen=True)
class State:
    """The stored rollout, and the world around it."""

    rollout: Rollout
    servers: tuple[Server, ...]
    sent: tuple[Order, ...] = ()
    """Orders whose replies are out."""
    ghosts: tuple[Ghost, ...] = ()
    running: tuple[Work, ...] = ()
    asking: tuple[tuple[str, bool], ...] = ()
    """Trials that run: backend, and whether the old version is asked."""
    now: float = 1000.0
    decision: Decision | None = field(default=None, compare=False)

    @property
    def urls(self) -> tuple[str, ...]:
        """URLs of the servers."""
        return self.rollout.plan.backends

    def observed(self) -> TrafficObservation:
        """Return what a driver sees now."""
        return TrafficObservation(
            "m", tuple(_seen(url, server) for url, server in zip(self.urls, self.servers, strict=True))
        )


def _seen(url: str, server: Server) -> BackendObservation:
    if server.away:
        return BackendObservation(url, False, {}, {}, {}, "no answer", holds=server.splits)
    weights = {NEW: server.share, OLD: 1.0 - server.share}
    if not server.splits and server.old is not READY and server.candidate is not READY:
        weights = {}
    return BackendObservation(
        url,
        True,
        {OLD: server.old, NEW: server.candidate},
        {},
        {version: share for version, share in weights.items() if share},
        requests={NEW: 1 if server.share else 0} if server.splits else None,
        stays=(OLD, NEW) if server.splits else (),
        holds=server.splits,
    )


def begin(plan: Plan, *, splits: bool) -> State:
    """Return the state of a rollout that was just recorded."""
    rollout = Rollout("r", plan, Phase.PLANNED, "", "ann", 1000.0, 1000.0, 1000.0, progress_at=1000.0)
    return State(rollout, tuple(Server(splits) for _ in plan.backends))


def faults(state: State) -> Iterator[Fault]:
    """Return everything that may go wrong in a state, or that a person may do there."""
    for order in state.sent:
        for what in ("drop", "apply and lose", "refuse", "hold", "late"):
            yield Fault(what, order)
    for work in state.running:
        yield from (Fault(what, work) for what in ("fail", "hang"))
        if work.kind is not WorkKind.HOOK:
            yield Fault("too little", work)
    for trial in state.asking:
        yield from (Fault(what, trial) for what in ("bad answer", "no answer"))
    for url in state.urls:
        yield from (Fault(what, url) for what in ("away", "away for long", "restart", "drift to 0", "drift to 1"))
        yield Fault("engine down", url)
    yield Fault("crash before sending")
    yield Fault("crash after sending")
    yield from (Fault(what) for what in ("alert", "freeze", "roll back", "pause", "full", "resume"))
    if _resumes(state, "eve"):
        yield from (Fault(f"resume, then {what}") for what in JUMPS)


def step(state: State, fault: Fault | None = None) -> State:
    """Return the state after one transition."""
    state = _world(state, fault)
    rollout, seen = state.rollout, state.observed()
    evidence = replace(NOTHING, alerts=("bad",)) if fault and fault.what == "alert" else NOTHING
    hold = HOLD if fault and fault.what == "freeze" else None
    decision = decide(rollout, seen, state.now, evidence, hold)
    after = replace(advance(rollout, decision, state.now), sentence="", updated_at=0.0)
    unfinished = tuple(s.work for s in after.works if s.finding is None)
    running = tuple(work for work in unfinished if work in decision.works or work in state.running)
    asking = tuple((url, False) for url in decision.asks) + tuple((url, True) for url in decision.asks_stable)
    sent = (*state.sent, *decision.orders)
    return replace(state, rollout=after, sent=sent, running=running, asking=asking, decision=decision)


def _world(state: State, fault: Fault | None) -> State:
    """Return the state after all that is out was answered, one tick later."""
    what, at = fault or Fault("")
    now = state.now + TICK_S
    state = _late(replace(state, now=now))
    for order in state.sent:
        state = _answer(state, order, what if at is order or what.startswith("crash") else "")
    state = _servers(state, what, at)
    for work in state.running:
        state = _work(state, work, "lost" if what.startswith("crash") else what if at == work else "")
    for trial in state.asking:
        state = _trial(state, trial, "lost" if what.startswith("crash") else what if at == trial else "")
    if what.startswith("crash"):
        state = replace(state, running=(), asking=())
    return _people(state, what)


def _late(state: State) -> State:
    left = []
    for ghost in state.ghosts:
        if ghost.ticks:
            left.append(ghost._replace(ticks=ghost.ticks - 1))
        else:
            state = _apply(state, ghost.order)
    return replace(state, ghosts=tuple(left))


def _apply(state: State, order: Order) -> State:
    if order.verb is not Verb.PLACE:
        return state
    servers = tuple(
        server.obey(order) if url == order.backend and not (server.away and not server.splits) else server
        for url, server in zip(state.urls, state.servers, strict=True)
    )
    return replace(state, servers=servers)


def _answer(state: State, order: Order, what: str) -> State:
    """Let one order arrive or not, and its reply too."""
    outcome = {
        "drop": OrderOutcome.LOST,
        "apply and lose": OrderOutcome.LOST,
        "late": OrderOutcome.LOST,
        "refuse": OrderOutcome.REFUSED,
        "hold": OrderOutcome.ORDERED,
        "crash before sending": OrderOutcome.INTERRUPTED,
        "crash after sending": OrderOutcome.INTERRUPTED,
    }.get(what, OrderOutcome.TAKEN)
    if what in ("", "apply and lose", "crash after sending"):
        state = _apply(state, order)
    if what == "late":
        state = replace(state, ghosts=(*state.ghosts, Ghost(order, 1)))
    if what == "hold":
        return state
    intents = tuple(
        replace(intent, outcome=outcome) if intent.order == order and intent.outcome is OrderOutcome.ORDERED else intent
        for intent in state.rollout.intents
    )
    sent = tuple(other for other in state.sent if other != order)
    return replace(state, rollout=replace(state.rollout, intents=intents), sent=sent)


def _servers(state: State, what: str, at: object) -> State:
    keeps = state.rollout.plan.resident
    servers = []
    for url, server in zip(state.urls, state.servers, strict=True):
        server = server.later(keeps)
        if url == at:
            server = _hurt(server, what)
        servers.append(server)
    return replace(state, servers=tuple(servers))


def _hurt(server: Server, what: str) -> Server:
    if what in ("away", "away for long"):
        return replace(server, away=1 if what == "away" else LONG)
    if what == "restart":
        # A server that swaps starts with the version on its disk, which is the old one until the commit.
        return server if server.splits else replace(server, candidate=GONE, old=READY, share=0.0)
    if what == "drift to 0" or (what == "drift to 1" and server.candidate is READY):
        return replace(server, share=0.0 if what == "drift to 0" else 1.0)
    if what == "engine down" and server.splits:
        return replace(server, broken=LONG, candidate=GONE)
    if what == "engine down":
        return replace(server, candidate=GONE, share=0.0, old=READY)
    return server


def _work(state: State, work: Work, what: str) -> State:
    if what in ("hang", "lost"):
        return state
    outcome = {"fail": Outcome.FAIL, "too little": Outcome.NOT_ENOUGH}.get(what, Outcome.PASS)
    compared = Sample("ttft", "seconds", 1.0, 0.5, 100, 100, outcome=outcome)
    samples = (compared,) if work.kind is WorkKind.LOOK else ()
    return replace(state, rollout=noted(state.rollout, work, Finding(outcome, ("why",), samples), state.now))


def _trial(state: State, trial: tuple[str, bool], what: str) -> State:
    if what in ("no answer", "lost"):
        return state
    url, of_stable = trial
    answered = tuple(
        replace(t, asked=1, failed=int(what == "bad answer"), finished=True)
        if (t.backend, t.of_stable) == (url, of_stable) and not t.finished
        else t
        for t in state.rollout.trials
    )
    return replace(state, rollout=replace(state.rollout, trials=answered))


_WISHES = {"pause": WishVerb.PAUSE, "full": WishVerb.FULL}


def _people(state: State, what: str) -> State:
    """Let people do what the rollout waits for, and what the fault says."""
    rollout = state.rollout
    if what == "roll back":
        return replace(state, rollout=replace(rollout, turn_back="Aborted by ann"))
    if what.startswith("resume"):
        state = replace(state, rollout=replace(rollout, wishes=(*rollout.wishes, *_resumes(state, "eve"))))
        return JUMPS[what.partition(", then ")[2]](state) if "," in what else state
    if what in _WISHES:
        wished = Wish(_WISHES[what], "eve", "admin", state.now, rollout.step)
        return replace(state, rollout=replace(rollout, wishes=(*rollout.wishes, wished)))
    wait = rollout.wait
    made: tuple[Wish, ...] = ()
    if wait is not None and wait.kind is WaitKind.APPROVAL:
        made = tuple(Wish(WishVerb.APPROVE, name, "admin", state.now, rollout.step) for name in ("bob", "eve"))
    elif wait is not None and wait.kind is WaitKind.OPERATOR:
        made = _resumes(state, "bob")
    return replace(state, rollout=replace(rollout, wishes=(*rollout.wishes, *made)))


def _resumes(state: State, actor: str) -> tuple[Wish, ...]:
    """Return the resume of a person as the service stores it, or nothing where it is refused or repeated."""
    try:
        made = wishing.resume(state.rollout, actor, "admin", "", state.now)
    except Conflict:
        return ()
    return () if made is None else (made,)


def _unwatched(state: State) -> State:
    """Let time pass in which no control plane runs."""
    now = state.now + LONG * TICK_S
    return replace(state, now=now, rollout=without_gap(state.rollout, state.now, now))


def _set(by_s: float) -> Callable[[State], State]:
    """Return the step of a clock that is set: the engine moves the rollout along."""
    return lambda state: replace(state, now=state.now + by_s, rollout=state.rollout.moved_by(by_s))


JUMPS: Mapping[str, Callable[[State], State]] = {
    "nobody watches": _unwatched,
    "the clock is set forward": _set(10_000.0),
    "the clock is set back": _set(-10_000.0),
}
"""Jumps of the time between a person's wish and the next tick."""


def kinds_of(plan: Plan) -> list[StepKind]:
    """Return the kinds of a plan's steps."""
    return [each.kind for each in plan.steps]
