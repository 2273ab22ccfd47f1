"""The division of limits over gateways that share them: a pure function, for the control plane."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.gateway.desired.document import LimitSpec

OTHERS = "*"
"""Id of the share of every limit, and every budget, that is not named."""
FLOOR = 0.1
"""Part of a limit that is divided evenly whatever the demand is: an idle gateway can admit its first requests at once.
Chosen: with two gateways, 5 % each."""
_BUDGETS = ("daily_tokens", "monthly_tokens", "daily_usd", "monthly_usd")


def budget_id(limit_id: str, field: str) -> str:
    """Return the id of a budget, such as `key/ab12/daily_tokens`."""
    return f"{limit_id}/{field}"


def shares(demands: Mapping[str, Mapping[str, float]], limits: Mapping[str, LimitSpec]) -> dict[str, dict[str, float]]:
    """Return the shares of each gateway, by limit id. The shares of a limit sum up to 1 at most.

    `demands` has the last report of each gateway (`Keeper.demand`), and `limits` has all limits by id. A gateway that
    does not report may still serve with its last shares: leave it in `demands` until it has left for good.

    Requests, tokens and concurrency are divided by demand; what nobody wants is divided evenly, so bursts find room
    anywhere. A budget is divided where money cannot come back: each gateway keeps what it has spent, and only the rest
    is divided. One gateway has everything, and its shares are empty.
    """
    names = sorted(demands)
    if len(names) < 2:
        return {name: {} for name in names}
    result: dict[str, dict[str, float]] = {name: {OTHERS: 1.0 / len(names)} for name in names}
    wanted_ids = {limit_id for demand in demands.values() for limit_id in demand}
    for limit_id, spec in limits.items():
        budgets = {field: budget_id(limit_id, field) for field in _BUDGETS if getattr(spec, field) is not None}
        if limit_id not in wanted_ids and wanted_ids.isdisjoint(budgets.values()):
            continue
        by_demand = _divide([_number(demands[name], limit_id) for name in names])
        _note(result, names, limit_id, by_demand)
        for field, of_budget in budgets.items():
            spent = [_number(demands[name], of_budget) / float(getattr(spec, field)) for name in names]
            _note(result, names, of_budget, _divide_rest(spent, by_demand))
    return result


def _divide(demand: list[float]) -> list[float]:
    """Return shares of one limit. `demand` is in parts of the limit; above 1 in sum, it is cut in proportion."""
    count, total = len(demand), sum(demand)
    floor, room = FLOOR / len(demand), 1.0 - FLOOR
    if total <= room:
        return [floor + part + (room - total) / count for part in demand]
    return [floor + room * part / total for part in demand]


def _divide_rest(spent: list[float], by_demand: list[float]) -> list[float]:
    """Return shares of one budget. `spent` is in parts of the budget."""
    total = sum(spent)
    if total >= 1.0:
        return [part / total for part in spent]
    return [part + share * (1.0 - total) for part, share in zip(spent, by_demand, strict=True)]


def _number(demand: Mapping[str, float], limit_id: str) -> float:
    return max(0.0, demand.get(limit_id, 0.0))


def _note(result: dict[str, dict[str, float]], names: list[str], limit_id: str, parts: list[float]) -> None:
    for name, part in zip(names, parts, strict=True):
        result[name][limit_id] = part
