"""Renders a message to a card without markup, which each notifier draws. Pure: same message, same card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from alerts.gotemplate.goformat import go_float, humanize_duration
from alerts.interfaces import AlertInstance, Button, Escalated, Flap, Message, Notice, OnCall, Storm
from alerts.notify.words import ENGLISH, Words
from alerts.texts.places import items
from alerts.wire import is_simulated
from collectors.durations import format_duration
from collectors.samples import Labels

SHOWN = 10
"""Alerts that a card lists. The others are only counted."""
STORM_KINDS = 4
"""Names of alerts that the card of a storm counts, the most frequent ones. Chosen: half of its lines are examples."""
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
    mentions: tuple[str, ...] = ()
    """Ids of people at the receiver whom the message mentions. They come from the configuration alone."""

    texts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Texts of the receiver's own by place, in its markup. `text` stands for the fields and lines of the alerts, and
    `fields.0.title` and so on for the fields."""

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The whole card as lines of text."""
        return (self.title, *self.own_lines, *self.below)

    @property
    def own_lines(self) -> tuple[str, ...]:
        """The lines of the receiver's own text; none where it has none."""
        return tuple(self.texts.get("text", "").strip().splitlines())

    @property
    def below(self) -> tuple[str, ...]:
        """The lines of text below the title, without the receiver's own."""
        links = (f"{link.text}: {link.url}" for link in self.links)
        return (*self.facts, *links, self.footer)

    @property
    def facts(self) -> tuple[str, ...]:
        """The fields, and the lines of the alerts."""
        return (*(f"{name}: {value}" for name, value in self.fields), *self.shown_lines)

    @property
    def shown_lines(self) -> tuple[str, ...]:
        """The line of each alert, and one that counts the alerts left out."""
        return (*self.lines, self.words.more.format(self.more)) if self.more else self.lines


def render(message: Message, words: Words = ENGLISH) -> Card:
    """Return the card of a message, with the words of one language."""
    card = _alerts(message, words) if message.notice is None else _notice(message, message.notice, words)
    card = replace(_own(card, message, words) if message.texts else card, buttons=message.buttons)
    if message.escalated is not None:
        told = escalation_words(message.escalated, words)
        # First: Slack shows ten fields, and this one says why the message is here.
        card = replace(card, fields=((words.escalation, told), *card.fields), text=f"{card.text} ({told})")
    if message.on_call is not None:
        card = replace(card, fields=(*card.fields, (words.on_call, on_call_words(message.on_call, words))))
    if not message.undelivered:
        return card
    fields = (*card.fields, (words.sent_here, message.undelivered))
    return replace(card, fields=fields, text=f"{card.text} ({message.undelivered})")


def escalation_words(escalated: Escalated, words: Words = ENGLISH) -> str:
    """Return why a further receiver gets a message: `step 1 of 2: nobody had acknowledged it after 15m`."""
    after = format_duration(escalated.after_s)
    return words.escalated.format(step=escalated.step, steps=escalated.steps, after=after)


def on_call_words(on_call: OnCall, words: Words = ENGLISH) -> str:
    """Return the people on call: `ann, bo`, or `nobody in primary`."""
    return words.comma.join(on_call.people) or words.nobody.format(on_call.rota)


def _alerts(message: Message, words: Words) -> Card:
    alerts = (*message.firing, *message.resolved)
    common = common_pairs([alert.labels for alert in alerts])
    severity = highest_severity(alerts)
    marked = {mark.fingerprint for mark in message.marks}
    # News first: a long list must not hide it behind what somebody takes care of already.
    lines = _firing_lines(message, sorted(message.firing, key=lambda alert: alert.fingerprint in marked), words)
    lines += [_line(alert, words, resolved=True) for alert in message.resolved]
    headline = _headline(message, words)
    heads = [] if message.storm is None else storm_lines(message, message.storm, words)
    heads += [words.moved_on.format(message.moved)] if message.moved else []
    shown = lines[: max(0, SHOWN - len(heads))]
    return Card(
        status=message.status,
        severity=severity,
        title=f"{_status(message, words)}: {_subject(message, words, ' · ')}",
        fields=tuple(_fields(message, common, severity, words)),
        lines=(*heads, *shown),
        more=len(lines) - len(shown),
        footer=_footer(message, common, words),
        links=tuple(_links(message, alerts, words)),
        text=f"{headline}: {(*heads, *lines)[0]}" if heads or lines else headline,
        words=words,
    )


def _firing_lines(message: Message, alerts: Sequence[AlertInstance], words: Words) -> list[str]:
    marks = {mark.fingerprint: mark.text for mark in message.marks}
    flaps = {flap.fingerprint: flap_words(flap, words) for flap in message.flaps}
    return [
        _marked(_line(alert, words, resolved=False), flaps.get(alert.fingerprint, ""), marks.get(alert.fingerprint, ""))
        for alert in alerts
    ]


def _own(card: Card, message: Message, words: Words) -> Card:
    """Return a card with the receiver's own texts. Marks of alerts stay: no template can show them."""
    texts = message.texts
    if title := texts.get("title", "").strip():
        simulated = f" ({words.simulated})" if is_simulated(message) else ""
        card = replace(card, title=title, text=f"{title}{simulated}")
    if not texts.get("text", "").strip():
        return replace(card, texts=texts, fields=() if items(texts, "fields") else card.fields)
    marked = {mark.fingerprint for mark in message.marks} | {flap.fingerprint for flap in message.flaps}
    lines = _firing_lines(message, [alert for alert in message.firing if alert.fingerprint in marked], words)
    return replace(card, texts=texts, fields=(), lines=tuple(lines[:SHOWN]), more=max(0, len(lines) - SHOWN))


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
    if message.status == "firing":
        return words.firing
    return words.moved if message.moved and not message.resolved else words.resolved


def _headline(message: Message, words: Words) -> str:
    counts = [words.n_firing.format(len(message.firing))] if message.firing else []
    counts += [words.n_resolved.format(len(message.resolved))] if message.resolved else []
    counts += [words.simulated] if is_simulated(message) else []
    title = f"{_status(message, words)}: {_subject(message, words, ' ')}"
    return words.counts.format(title=title, counts=words.comma.join(counts))


def storm_lines(message: Message, storm: Storm, words: Words) -> list[str]:
    """Return the lines that say what a storm is: its cause, what happened before, and its alerts by name."""
    if storm.rest:
        lines = [words.storm_rest.format(storm.rest)]
    elif message.firing:
        facts = {"alerts": len(message.firing), "groups": storm.groups, "label": storm.label, "value": storm.value}
        lines = [words.storm_of.format(**facts)]
    else:
        lines = []
    lines += [words.storm_before.format(act) for act in storm.acts]
    kinds = storm.counts[:STORM_KINDS]
    return lines + [
        words.storm_kind.format(
            alerts=kind.alerts, name=kind.name, severity=words.severities.get(kind.severity, kind.severity)
        )
        for kind in kinds
    ]


def _subject(message: Message, words: Words, between: str) -> str:
    if message.storm is not None:
        return words.storm.format(label=message.storm.label, value=message.storm.value)
    labels = dict(message.group_labels)
    return between.join([labels.pop("alertname", words.alerts), *labels.values()])


def _marked(line: str, *marks: str) -> str:
    return " ".join([line, *(f"({mark})" for mark in marks if mark)])


def flap_words(flap: Flap, words: Words = ENGLISH) -> str:
    """Return how an alert flaps: `flapping: 7 changes in the last 5 minutes`."""
    text = words.flapping if flap.changes else words.settled
    return text.format(n=flap.changes, minutes=round(flap.within_s / 60))


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
