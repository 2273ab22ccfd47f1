"""The gateways as people see them: reports, the models that each applies, and what needs attention. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controlplane.config.model import Fleet
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.fleet.view import View, instant
from controlplane.fleet.views import AttentionView
from controlplane.store.assignments import Assignment
from controlplane.store.gateways import FORGET_S, LIVE_S, Gateway
from controlplane.traffic.gateway.driver import CURE, GatewaySeen, not_applied, one_name

LATE_S = 5.0
"""Seconds for which a gateway may still apply the assignment before the newest. Chosen: it takes less than one."""


class GatewayModelView(View):
    """One model at one gateway."""

    model: str
    generation: int
    """The generation that all workers of the gateway apply."""
    assigned: int | None
    """The newest generation; null: no driver assigns the model's traffic."""
    requests: Mapping[str, int]
    """Requests by version since the generation was applied."""


class GatewayView(View):
    """One gateway and its last report."""

    name: str
    live: bool
    """Whether it reported within the last ten seconds."""
    state: str
    """live, silent or left."""
    processes: int
    """Number of processes that report under this name. More than 1: give each a name of its own."""
    seen_at: str
    age_seconds: float
    version: str
    listen: str
    workers: int
    ready: bool
    revision: str
    fault: str
    """Why it does not apply the newest desired state; "" when it does."""
    open_streams: int
    requests: int
    """Requests since the applied generations, of all models."""
    models: tuple[GatewayModelView, ...]


def gateway_views(gateways: Iterable[Gateway], assigned: Mapping[str, Assignment]) -> tuple[GatewayView, ...]:
    """Return the views of gateways, in their order."""
    return tuple(_view(gateway, assigned) for gateway in gateways)


def gateway_attention(
    fleet: Fleet, gateways: Sequence[Gateway], assigned: Mapping[str, Assignment], now: float
) -> tuple[AttentionView, ...]:
    """Return the gateways that are silent or late, and the models that no gateway serves. `now` is unix seconds."""
    found = [
        _needs("", "gateway_silent", _silent(gateway), gateway.seen_at) for gateway in gateways if _is_lost(gateway)
    ]
    live = [gateway for gateway in gateways if gateway.live]
    found += [
        _needs("", "gateway_refuses", f"gateway {g.report.name} keeps its last desired state: {g.report.fault}", None)
        for g in live
        if g.report.fault
    ]
    found += [_needs("", "gateway_shared", one_name(g.report.name, g.processes), None) for g in live if g.processes > 1]
    for model, words in models_behind(fleet, gateways, assigned, now).items():
        if words:
            since = assigned[model].updated_at if live else None
            found.append(_needs(model, "gateway_behind" if live else "no_gateway", words, since))
    return tuple(found)


def models_behind(
    fleet: Fleet, gateways: Sequence[Gateway], assigned: Mapping[str, Assignment], now: float
) -> dict[str, str]:
    """Return, for each model on driver gateway, why its weights are not applied: "" when they are."""
    live = [gateway for gateway in gateways if gateway.live]
    found = {}
    for section in fleet.models:
        if not isinstance(section.traffic, GatewayTraffic):
            continue
        assignment = assigned.get(section.name)
        late = assignment is not None and abs(now - assignment.updated_at) > LATE_S
        words = [one_name(g.report.name, g.processes) for g in live if g.processes > 1]
        if assignment is not None and late:
            words += [behind(gateway, assignment) for gateway in live if gateway.processes == 1]
        nobody = f"no gateway is live, so {section.name} gets no requests through one; {CURE}"
        found[section.name] = "; ".join(filter(None, words)) if live else nobody
    return found


def behind(gateway: Gateway, assignment: Assignment) -> str:
    """Return in words that a gateway does not apply an assignment, or "" when it does."""
    return not_applied(assignment.model, assignment.generation, seen_at(gateway, assignment.model))


def seen_at(gateway: Gateway, model: str) -> GatewaySeen:
    """Return a gateway's report about one model, as its driver sees it."""
    report, applied = gateway.report, gateway.report.models.get(model)
    if applied is None:
        return GatewaySeen(report.name, None, fault=report.fault, processes=gateway.processes)
    return GatewaySeen(report.name, applied.generation, applied.requests, applied.open, report.fault, gateway.processes)


def _view(gateway: Gateway, assigned: Mapping[str, Assignment]) -> GatewayView:
    report = gateway.report
    models = tuple(
        GatewayModelView(
            model=name,
            generation=model.generation,
            assigned=assigned[name].generation if name in assigned else None,
            requests=dict(model.requests),
        )
        for name, model in sorted(report.models.items())
    )
    return GatewayView(
        name=report.name,
        live=gateway.live,
        state="live" if gateway.live else "left" if gateway.has_left else "silent",
        processes=gateway.processes,
        seen_at=instant(gateway.seen_at),
        age_seconds=round(gateway.age_s, 1),
        version=report.version,
        listen=report.listen,
        workers=report.workers,
        ready=report.ready,
        revision=report.revision,
        fault=report.fault,
        open_streams=report.open_streams,
        requests=sum(sum(model.requests.values()) for model in models),
        models=models,
    )


def _is_lost(gateway: Gateway) -> bool:
    return not gateway.live and not gateway.has_left


def _silent(gateway: Gateway) -> str:
    return (
        f"gateway {gateway.report.name} has not reported for more than {LIVE_S:g} s: it is down, or cannot reach the "
        f"control plane and serves with its last desired state; it is forgotten after {FORGET_S / 3600:g} h"
    )


def _needs(model: str, need: str, sentence: str, since: float | None) -> AttentionView:
    return AttentionView(
        model=model, rollout=None, need=need, sentence=sentence, since=None if since is None else instant(since)
    )
