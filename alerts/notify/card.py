"""Renders a message to a card without markup, which each notifier draws. Pure: same message, same card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from alerts.goformat import go_float, humanize_duration
from alerts.interfaces import AlertInstance, Button, Message, Notice
from alerts.notify.words import ENGLISH, Words
from alerts.wire import is_simulated
from collectors.samples import Labels

SHOWN = 10
"""Alerts that a card lists. The others are only counted."""
_SEVERITIES = ("critical", "warning", "info")


class Link(NamedTuple):
    """A link on a card."""

    text: str
    url: str


@dataclass(frozen=True)
class Card:
    """A message ready to be drawn: plain texts without markup."""

    status: str
    """firing, resolved or notice."""
    severity: str
    """The highest severity of its alerts."""
    title: str
    fields: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    """One line per alert."""
    more: int
    """Number of alerts that `lines` leaves out."""
    footer: str
    links: tuple[Link, ...]
    text: str
    """The whole message in one line, for receivers that show plain text."""
    buttons: tuple[Button, ...] = ()
    words: Words = ENGLISH

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The whole card as lines of text."""
        facts = (f"{name}: {value}" for name, value in self.fields)
        links = (f"{link.text}: {link.url}" for link in self.links)
        return (self.title, *facts, *self.shown_lines, *links, self.footer)

    @property
    def shown_lines(self) -> tuple[str, ...]:
        """The line of each alert, and one that counts the alerts left out."""
        return (*self.lines, self.words.more.format(self.more)) if self.more else self.lines


def render(message: Message, words: Words = ENGLISH) -> Card:
    """Return the card of a message, with the words of one language."""
    card = _alerts(message, words) if message.notice is None else _notice(message, message.notice, words)
    card = replace(card, buttons=message.buttons)
    if not message.undelivered:
        return card
    fields = (*card.fields, (words.sent_here, message.undelivered))
    return replace(card, fields=fields, text=f"{card.text} ({message.undelivered})")


def _alerts(message: Message, words: Words) -> Card:
    alerts = (*message.firing, *message.resolved)
    common = common_pairs([alert.labels for alert in alerts])
    severity = highest_severity(alerts)
    marks = {mark.fingerprint: mark.text for mark in message.marks}
    # News first: a long list must not hide it behind what somebody takes care of already.
    firing = sorted(message.firing, key=lambda alert: alert.fingerprint in marks)
    lines = [_marked(_line(alert, words, resolved=False), marks.get(alert.fingerprint, "")) for alert in firing]
    lines += [_line(alert, words, resolved=True) for alert in message.resolved]
    headline = _headline(message, words)
    return Card(
        status=message.status,
        severity=severity,
        title=f"{_status(message, words)}: {_subject(message, words, ' · ')}",
        fields=tuple(_fields(message, common, severity, words)),
        lines=tuple(lines[:SHOWN]),
        more=max(0, len(lines) - SHOWN),
        footer=_footer(message, common, words),
        links=tuple(_links(message, alerts, words)),
        text=f"{headline}: {lines[0]}" if lines else headline,
        words=words,
    )


def _notice(message: Message, notice: Notice, words: Words) -> Card:
    fields = [(words.places.get(name, name.capitalize()), value) for name, value in message.group_labels]
    fields += [(words.switch, notice.subject)] if notice.subject else []
    return Card(
        status=message.status,
        severity=notice.severity,
        title=notice.title,
        fields=tuple(fields),
        lines=(notice.text,),
        more=0,
        footer=_footer(message, {}, words),
        links=tuple(_links(message, (), words)),
        text=f"{notice.title}: {notice.text}",
        words=words,
    )


def highest_severity(alerts: Sequence[AlertInstance]) -> str:
    """Return the highest severity of alerts; "" when none has a known one."""
    severities = {dict(alert.labels).get("severity", "") for alert in alerts}
    return next((s for s in _SEVERITIES if s in severities), "")


def _status(message: Message, words: Words) -> str:
    return words.firing if message.status == "firing" else words.resolved


def _headline(message: Message, words: Words) -> str:
    counts = [words.n_firing.format(len(message.firing))] if message.firing else []
    counts += [words.n_resolved.format(len(message.resolved))] if message.resolved else []
    counts += [words.simulated] if is_simulated(message) else []
    title = f"{_status(message, words)}: {_subject(message, words, ' ')}"
    return words.counts.format(title=title, counts=words.comma.join(counts))


def _subject(message: Message, words: Words, between: str) -> str:
    labels = dict(message.group_labels)
    return between.join([labels.pop("alertname", words.alerts), *labels.values()])


def _marked(line: str, mark: str) -> str:
    return f"{line} ({mark})" if mark else line


def _what(alert: AlertInstance, words: Words) -> str:
    """Return what is wrong. Alerts of other senders have no value."""
    annotations = dict(alert.annotations)
    name = dict(alert.labels).get("alertname", "?")
    valued = name if math.isnan(alert.value) else words.value.format(name, go_float(alert.value))
    return annotations.get("summary") or annotations.get("description") or valued


def _line(alert: AlertInstance, words: Words, *, resolved: bool) -> str:
    text = _what(alert, words)
    away = words.comma.join(alert.away)
    if not resolved:
        if alert.unknown_since is None:
            return text
        return words.unknown.format(text=text, since=_time(alert.unknown_since), away=away)
    lasted = ""
    if alert.fired_at is not None and alert.resolved_at is not None:
        duration = humanize_duration(max(0.0, float(round(alert.resolved_at - alert.fired_at))))
        lasted = words.lasted.format(duration)
    why = words.removed.format(away) if alert.away else ""
    return words.ended.format(at=_time(alert.resolved_at), lasted=lasted, why=why, text=text)


def _fields(message: Message, common: Mapping[str, str], severity: str, words: Words) -> list[tuple[str, str]]:
    fields = [(name, common[label]) for label, name in words.places.items() if label in common]
    fields += [(words.severity, words.severities.get(severity, severity))] if severity else []
    starts = [alert.fired_at for alert in message.firing or message.resolved if alert.fired_at is not None]
    fields += [(words.since if message.firing else words.fired, _time(min(starts)))] if starts else []
    counts = ((words.firing_count, message.firing), (words.resolved_count, message.resolved))
    return fields + [(name, str(len(alerts))) for name, alerts in counts if alerts]


def _footer(message: Message, common: Mapping[str, str], words: Words) -> str:
    simulated = f"{words.simulated} · " if common.get("simulated") == "true" else ""
    number = words.edited if message.edit else words.message.format(message.sequence)
    return f"{simulated}{number} · {message.id}"


def _links(message: Message, alerts: Sequence[AlertInstance], words: Words) -> list[Link]:
    links = [Link(words.console, message.console_url)] if message.console_url.startswith("http") else []
    runbooks = dict.fromkeys(dict(alert.annotations).get("runbook_url", "") for alert in alerts)
    return links + [Link(words.runbook, url) for url in runbooks if url.startswith(("http://", "https://"))][:1]


def common_pairs(pairs: Sequence[Labels]) -> dict[str, str]:
    """Return the labels, or annotations, that all of several alerts have with one value."""
    shared = set(pairs[0]) if pairs else set()
    for each in pairs[1:]:
        shared &= set(each)
    return dict(sorted(shared))


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
