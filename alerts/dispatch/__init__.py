"""Dispatch: groups alerts as Alertmanager does, and decides which message goes to which notifier, and when.

`dispatcher.py` runs four pure stages over stored state; start there. `muting.py` decides whether an alert is held back.
`routing.py` finds the routes and groups of each alert. `decide.py` compares each group with its last message.
`explain.py` says in which stage an alert is.
"""

from __future__ import annotations

from alerts.dispatch.decide import DEAD_RETRY_S, decide, next_due
from alerts.dispatch.dispatcher import Dispatcher
from alerts.dispatch.explain import Leg, explain
from alerts.dispatch.groups import Decide, Deliveries, GroupLog, GroupState, GroupStep, Picture
from alerts.dispatch.muting import Mute, Muting, Stage
from alerts.dispatch.routing import Outlet, Stages

__all__ = [
    "DEAD_RETRY_S",
    "Decide",
    "Deliveries",
    "Dispatcher",
    "GroupLog",
    "GroupState",
    "GroupStep",
    "Leg",
    "Mute",
    "Muting",
    "Outlet",
    "Picture",
    "Stage",
    "Stages",
    "decide",
    "explain",
    "next_due",
]
