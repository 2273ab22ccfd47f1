"""Where alerts and notices go: the routes, and the notifiers of their receivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from alerts.dispatch import Stages
from alerts.errors import RuleError
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import LOG
from controlplane.config.notifications.alertmanager import Receivers, read_receivers
from controlplane.config.notifiers import NotifierSection
from controlplane.errors import ConfigErrors
from controlplane.fleet.alerting.routing import flapping_of, routing_of, storms_of

ALERTMANAGER = ("notifications", "alertmanager_config")
"""Place of the path of an `alertmanager.yml` in fleet.yaml."""


def stages_of(loaded: LoadedFleet, console_url: str) -> Stages:
    """Return all that lies between an alert and its notification. Raises ConfigErrors for a bad `alertmanager.yml`."""
    own = {name: (name,) for name in (*(notifier.name for notifier in loaded.fleet.notifiers), LOG)}
    rotas = {one.name: one.on_call for one in loaded.fleet.notifiers if one.on_call is not None}
    fallbacks = {one.name: one.fallback for one in loaded.fleet.rotas}
    found = _imported(loaded)
    if found is None:
        return Stages(routing_of(loaded.fleet), own, console_url, rotas=rotas, fallbacks=fallbacks)
    own_settings = loaded.fleet.notifications
    flapping, storms = flapping_of(own_settings.flapping), storms_of(own_settings.storms)
    routing = replace(found.routing, flapping=flapping, storms=storms)
    taken = {name: tuple(one.name for one in sections) for name, sections in found.sections.items()}
    return Stages(routing, taken | own, console_url, rotas=rotas, fallbacks=fallbacks)


def receivers_of(loaded: LoadedFleet) -> Mapping[str, tuple[NotifierSection, ...]]:
    """Return the notifiers of each receiver of the `alertmanager.yml`, without those that fleet.yaml replaces.

    A notifier of fleet.yaml with the name of a receiver takes its place. Raises ConfigErrors for a bad file.
    """
    found = _imported(loaded)
    own = {notifier.name for notifier in loaded.fleet.notifiers}
    return {name: sections for name, sections in found.sections.items() if name not in own} if found else {}


def notice_receiver(loaded: LoadedFleet) -> str:
    """Return the notifier that gets messages about other things than alerts: the first one of the root route.

    Raises ConfigErrors for a bad `alertmanager.yml`.
    """
    stages = stages_of(loaded, "")
    return next(iter(stages.notifiers.get(stages.routing.root.receiver, ())), LOG)


def _imported(loaded: LoadedFleet) -> Receivers | None:
    """Return the content of the `alertmanager.yml`; None: fleet.yaml names none."""
    path = loaded.fleet.notifications.alertmanager_config
    try:
        return None if path is None else read_receivers(path)
    except RuleError as error:
        raise ConfigErrors([loaded.error(ALERTMANAGER, str(error))]) from error
