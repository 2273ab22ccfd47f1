"""Dispatch: groups alerts as Alertmanager does, and decides which message goes to which notifier, and when.

`dispatcher.py` runs pure stages over stored state; start there. `flapping.py` steadies alerts that fire and resolve
again and again. `storms.py` makes one group of many that begin together. `muting.py` decides whether an alert is held
back. `routing.py` finds the routes and groups of each alert. `decide.py` compares each group with its last message.
`explain.py` says in which stage an alert is.
"""

from __future__ import annotations

from alerts.dispatch.decide import decide, next_due
from alerts.dispatch.dispatcher import Dispatcher
from alerts.dispatch.explain import Leg, explain
from alerts.dispatch.flapping import Steadied, steadied
from alerts.dispatch.groups import Decide, Deliveries, GroupLog, GroupState, GroupStep, Happened, Picture, ToldFlap
from alerts.dispatch.muting import Mute, Muting, Stage
from alerts.dispatch.routing import Outlet, Stages
from alerts.dispatch.storms import has_cause
from alerts.dispatch.timing import DEAD_RETRY_S

__all__ = [
    "DEAD_RETRY_S",
    "Decide",
    "Deliveries",
    "Dispatcher",
    "GroupLog",
    "GroupState",
    "GroupStep",
    "Happened",
    "Leg",
    "Mute",
    "Muting",
    "Outlet",
    "Picture",
    "Stage",
    "Stages",
    "Steadied",
    "ToldFlap",
    "decide",
    "explain",
    "has_cause",
    "next_due",
    "steadied",
]
