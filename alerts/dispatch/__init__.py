"""Who is told what, and when: grouping as Alertmanager does it, in four pure stages over state that is stored.

`routing.py` says where an alert goes, `muting.py` whether it is held back, `routing.sort` forms groups of both, and
`decide.py` compares each group with what was told of it. `dispatcher.py` runs the stages; start there.
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
