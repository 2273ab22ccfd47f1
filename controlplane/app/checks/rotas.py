"""Check rotas: that their calendars can be read, that events name people, and that somebody is on call."""

from __future__ import annotations

import time

from alerts.errors import DeliveryFailed
from controlplane.app.checks.findings import Findings
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.config.vocabulary import whole

MAX_NAMED = 3
"""Events without a person that are named."""


def check_rotas(loaded: LoadedFleet, findings: Findings) -> None:
    """Add warnings for calendars in files that cannot be read, for gaps in the next 14 days, and for unknown people.

    A calendar at an address is not fetched: `cp alerts rota` shows the same of a running control plane. Blocking.
    """
    fleet = loaded.fleet
    if not (fleet.reads("rotas", "people") and whole(fleet.rotas) and whole(fleet.people)) or not fleet.rotas:
        return
    # Imported only here: few files need it, and `up` must refuse a bad file at once.
    from controlplane.app.rotas.part import content_of, gap_warnings, rota_settings
    from controlplane.fleet.rota.calendar import CalendarError, read_calendar
    from controlplane.fleet.view import instant

    settings, now = rota_settings(fleet), time.time()
    used = {one.on_call for one in fleet.notifiers if one.reads("on_call")} if fleet.reads("notifiers") else set()
    for number, source in enumerate(settings.sources):
        place: Loc = ("rotas", number)
        if source.name not in used:
            findings.warn((*place, "name"), f"{source.name} is used by no notifier; set on_call: {source.name} of one")
        try:
            if source.address is not None:
                source.address()
                continue
            assert source.file is not None  # a rota has a file or an address
            found = read_calendar(content_of(source.file), source.time_zone, settings.names, now)
        except DeliveryFailed as failure:
            findings.warn(place, str(failure))
            continue
        except CalendarError as error:
            findings.warn((*place, "ical_file"), f"the calendar cannot be used: {error}")
            continue
        for one in found.unknown[:MAX_NAMED]:
            sentence = f"the event {one.summary!r} of {instant(one.starts_at)} names nobody in people:"
            findings.warn((*place, "ical_file"), sentence)
        for sentence in gap_warnings(source.name, found.roster, now):
            findings.warn((*place, "ical_file"), f"{sentence}; {source.fallback} gets its messages then")
