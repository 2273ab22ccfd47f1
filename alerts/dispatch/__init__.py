"""Dispatch: groups alerts as Alertmanager does, and decides which message goes to which receiver, and when.

`dispatcher.py` runs four pure stages over stored state; start there. `routing.py` finds an alert's group and receiver.
`muting.py` decides whether an alert is held back. `routing.sort` forms the groups from both results. `decide.py`
compares each group with its last message.
"""

from __future__ import annotations

from alerts.dispatch.decide import DEAD_RETRY_S, Stages, decide, next_due
from alerts.dispatch.dispatcher import Dispatcher
from alerts.dispatch.groups import Decide, Deliveries, GroupLog, GroupState, GroupStep
from alerts.dispatch.muting import Muting, NobodyMuted
from alerts.dispatch.routing import Route, group_key, group_labels

__all__ = [
    "DEAD_RETRY_S",
    "Decide",
    "Deliveries",
    "Dispatcher",
    "GroupLog",
    "GroupState",
    "GroupStep",
    "Muting",
    "NobodyMuted",
    "Route",
    "Stages",
    "decide",
    "group_key",
    "group_labels",
    "next_due",
]
