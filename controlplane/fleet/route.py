"""Where alerts and notices go: the routes, and the notifiers of their receivers."""

from __future__ import annotations

from alerts.dispatch import Stages
from alerts.errors import RuleError
from alerts.routing.config import read_file
from alerts.routing.tree import Routing
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import LOG
from controlplane.errors import ConfigErrors
from controlplane.fleet.routing import routing_of

ALERTMANAGER = ("notifications", "alertmanager_config")
"""Place of the path of an `alertmanager.yml` in fleet.yaml."""


def stages_of(loaded: LoadedFleet, console_url: str) -> Stages:
    """Return all that lies between an alert and its notification. Raises ConfigErrors for a bad `alertmanager.yml`."""
    routing = full_routing(loaded)
    own = {notifier.name for notifier in loaded.fleet.notifiers} | {LOG}
    return Stages(routing, {name: (name,) for name in routing.receivers if name in own}, console_url)


def full_routing(loaded: LoadedFleet) -> Routing:
    """Return the routing of fleet.yaml or of its `alertmanager.yml`. Raises ConfigErrors for a bad one."""
    path = loaded.fleet.notifications.alertmanager_config
    if path is None:
        return routing_of(loaded.fleet)
    try:
        return read_file(path)
    except RuleError as error:
        raise ConfigErrors([loaded.error(ALERTMANAGER, str(error))]) from error


def notice_receiver(loaded: LoadedFleet) -> str:
    """Return the notifier that gets messages about other things than alerts: the first one of the root route.

    Raises ConfigErrors for a bad `alertmanager.yml`.
    """
    stages = stages_of(loaded, "")
    return next(iter(stages.notifiers.get(stages.routing.root.receiver, ())), LOG)
