"""`people:` and `rotas:` of fleet.yaml: who may be on call, and the calendars that say when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from controlplane.config.checking import Fault, Loc, check
from controlplane.config.notifications.slack import SlackId
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.mail import Mailbox
from controlplane.config.vocabulary import FilePath, Model, Name, ProxySection, Text
from controlplane.config.wording import not_one_of


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ValueError("expected a time zone such as Europe/Berlin or UTC") from None
    return value


class PersonSection(Model):
    """Someone who may be on call, and the ways to this person."""

    slack: SlackId | None = None
    """The person's id in Slack. Default: that of `slack.people` with the same name."""
    email: Mailbox | None = None
    calendar: tuple[Text, ...] = ()
    """Other names of the person in calendars."""


class RotaSection(ProxySection):
    """A calendar whose events say who is on call."""

    name: Name
    ical_file: FilePath | None = None
    ical_url_env: Text | None = None
    ical_url_file: FilePath | None = None
    """Place of the calendar's address, which is a secret: whoever knows it can read the calendar."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Time zone of events without one, and of events of whole days."""
    fallback: Text
    """Receiver while nobody is on call."""

    @check
    def _has_one_place(self) -> Iterator[Fault]:
        given = [name for name in ("ical_file", "ical_url_env", "ical_url_file") if getattr(self, name)]
        if not given:
            yield Fault((), "needs one of ical_file:, ical_url_env:, ical_url_file:")
        elif len(given) > 1:
            yield Fault((), f"has {' and '.join(f'{name}:' for name in given)}; give one place of the calendar only")


def rota_faults(
    rotas: Sequence[RotaSection], notifiers: Sequence[CommonNotifier], receivers: Sequence[str]
) -> Iterator[Fault]:
    """Yield faults of rotas and of the notifiers that name one. `receivers` are the names of all receivers."""
    names = [one.name if one.reads("name") else None for one in rotas]
    on_call = {one.name: one.on_call for one in notifiers if one.reads("name", "on_call")}
    for number, rota in enumerate(rotas):
        place: Loc = ("rotas", number)
        if names[number] is not None and names[number] in names[:number]:
            yield Fault((*place, "name"), f"{names[number]} is given twice")
        if not rota.reads("fallback"):
            continue
        if rota.fallback not in receivers:
            yield Fault((*place, "fallback"), not_one_of(rota.fallback, "notifiers", receivers))
        elif names[number] in _after(rota, rotas, on_call):
            yield Fault((*place, "fallback"), f"leads back to the rota {names[number]}; name a notifier without a rota")
    for number, notifier in enumerate(notifiers):
        if notifier.reads("on_call") and notifier.on_call is not None and notifier.on_call not in names:
            yield Fault(("notifiers", number, "on_call"), not_one_of(notifier.on_call, "rotas", filter(None, names)))


def _after(rota: RotaSection, rotas: Sequence[RotaSection], on_call: Mapping[str, str | None]) -> set[str]:
    """Return the rotas that fallbacks lead to, beginning with that of a rota."""
    fallbacks = {one.name: one.fallback for one in rotas if one.reads("name", "fallback")}
    found: set[str] = set()
    following = on_call.get(rota.fallback)
    while following is not None and following not in found:
        found.add(following)
        following = on_call.get(fallbacks.get(following, ""))
    return found
