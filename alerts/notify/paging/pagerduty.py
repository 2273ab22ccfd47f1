"""Delivers to PagerDuty's Events API, version 2: a group of alerts is one incident, and a notice is a change event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alerts.interfaces import Message, MessageRef
from alerts.notify.card import Card, common_pairs, render
from alerts.notify.http import HttpPoster
from alerts.notify.paging.identity import incident_key
from alerts.notify.payload import members
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import cut, one_line
from alerts.texts.places import OWN_IMAGES, OWN_LINKS, details, items, web_address

EVENTS, CHANGES = "/v2/enqueue", "/v2/change/enqueue"
SUMMARY_LIMIT, VALUE_LIMIT, LINK_LIMIT = 1024, 2000, 2000
"""Lengths: of the summary, as PagerDuty takes it; of a value and an address (chosen: an event may have 512 KB)."""
CLIENT = "llm-controlplane"
_SEVERITIES = ("critical", "error", "warning", "info")
_CURES = {403: "check the integration key", 404: "check url:"}


class PagerDutyNotifier:
    """Implements alerts.interfaces.Notifier on an integration of PagerDuty. An edit of a notice is no news."""

    opens_incidents = True
    """An alert stays open at the receiver until a message resolves it."""

    def __init__(
        self, name: str, routing_key: Callable[[], str], http: HttpPoster, *, url: str = "https://events.pagerduty.com"
    ) -> None:
        self.name = name
        self._routing_key, self._http, self._url = routing_key, http, url.rstrip("/")

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Trigger, update or resolve the group's incident. Raises DeliveryFailed."""
        if message.edit:
            return None
        card = render(message)

        async def rich() -> None:
            await self._post(message, _event(message, card, rich=True))

        async def plain(_refused: FormRefused) -> None:
            await self._post(message, _event(message, card, rich=False))

        _, note = await sent_or_plain(self.name, message, rich, plain)
        return MessageRef("" if message.notice else incident_key(message), note)

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _post(self, message: Message, event: dict[str, Any]) -> None:
        path = CHANGES if message.notice else EVENTS
        answer = await self._http.post_json(self._url + path, {"routing_key": self._routing_key(), **event})
        self._http.check(answer, form={400, 413}, cures=_CURES)


def _event(message: Message, card: Card, *, rich: bool) -> dict[str, Any]:
    if message.status == "resolved":
        return {"event_action": "resolve", "dedup_key": incident_key(message)}
    common = common_pairs([alert.labels for alert in members(message)])
    payload: dict[str, Any] = {
        "summary": cut(one_line(card.text), SUMMARY_LIMIT),
        "source": _own(card, "source")
        or _short(common.get("instance") or common.get("node") or common.get("model") or CLIENT),
    }
    if message.sent_at is not None:
        payload["timestamp"] = message.sent_at.isoformat()
    if rich:
        payload["custom_details"] = {
            **{_short(name): _short(value) for name, value in card.fields},
            "alerts": [_short(line) for line in card.shown_lines],
            "message": _short(card.footer),
            **{_short(name): _lines(text) for name, text in details(card.texts).items()},
        }
    event: dict[str, Any] = {"payload": payload}
    if rich:
        event |= {name: found for name, found in (("links", _links(card)), ("images", _images(card))) if found}
    if message.notice is not None:
        return event
    own = card.texts.get("severity", "").strip().lower()
    payload["severity"] = own if own in _SEVERITIES else card.severity if card.severity in _SEVERITIES else "error"
    if rich:
        named = {"component": common.get("model"), "class": common.get("alertname"), "group": common.get("job")}
        shown = {name: _own(card, name) or _short(value or "") for name, value in named.items()}
        payload |= {name: value for name, value in shown.items() if value}
    return {"event_action": "trigger", "dedup_key": incident_key(message), **_client(message, card), **event}


def _client(message: Message, card: Card) -> dict[str, str]:
    has_console = message.console_url.startswith("http")
    name = _own(card, "client") or (CLIENT if has_console else "")
    url = web_address(card.texts.get("client_url", ""), LINK_LIMIT) or (message.console_url if has_console else "")
    return {field: value for field, value in (("client", name), ("client_url", url)) if value}


def _links(card: Card) -> list[dict[str, str]]:
    """Return the links of the card, and those of the receiver's own."""
    links = [{"href": link.url, "text": link.text} for link in card.links if len(link.url) <= LINK_LIMIT]
    for one in items(card.texts, "links")[:OWN_LINKS]:
        if href := web_address(one.get("href", ""), LINK_LIMIT):
            links.append({"href": href, "text": _short(one.get("text", href))})
    return links


def _images(card: Card) -> list[dict[str, str]]:
    images = []
    for one in items(card.texts, "images")[:OWN_IMAGES]:
        if src := web_address(one.get("src", ""), LINK_LIMIT):
            href = web_address(one.get("href", ""), LINK_LIMIT)
            images.append({"src": src, "alt": _short(one.get("alt", "")), **({"href": href} if href else {})})
    return images


def _own(card: Card, place: str) -> str:
    return _short(card.texts.get(place, "").strip())


def _lines(text: str) -> str:
    return cut("\n".join(map(one_line, text.splitlines())), VALUE_LIMIT)


def _short(text: str) -> str:
    return cut(one_line(text), VALUE_LIMIT)
