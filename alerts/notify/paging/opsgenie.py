"""Delivers to Opsgenie, and to services with its API. A group of alerts is one alert there, by its alias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.notify.card import Card, common_pairs, render
from alerts.notify.http import HttpPoster
from alerts.notify.paging.identity import incident_key
from alerts.notify.payload import members
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import cut, one_line

MESSAGE_LIMIT, DESCRIPTION_LIMIT, TAG_LIMIT, TAGS_LIMIT, SOURCE_LIMIT, ENTITY_LIMIT = 130, 15_000, 50, 20, 100, 512
DETAILS_LIMIT = 8_000
"""Characters of all details together, as Opsgenie takes them, without its own separators."""
SOURCE = "llm-controlplane"
_PRIORITIES = {"critical": "P1", "warning": "P3", "info": "P5"}
_CURES = {401: "check the API key, and that url: is of its region", 403: "the API key may not create alerts"}


class OpsgenieNotifier:
    """Implements alerts.interfaces.Notifier on Opsgenie's Alert API. An edit of a notice is no news."""

    opens_incidents = True
    """An alert stays open at the receiver until a message resolves it."""

    def __init__(
        self,
        name: str,
        api_key: Callable[[], str],
        http: HttpPoster,
        *,
        url: str = "https://api.opsgenie.com",
        teams: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._api_key, self._http, self._url = api_key, http, url.rstrip("/")
        self._teams, self._tags = tuple(teams), tuple(tags)

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Create the group's alert, or close it. Raises DeliveryFailed."""
        if message.edit:
            return None
        card, alias = render(message), incident_key(message)
        if message.notice is not None:
            alias = f"{alias[:32]}-{message.generation}-{message.sequence}"  # each notice is an alert of its own

        async def rich() -> None:
            await self._post("/v2/alerts", self._alert(message, card, alias))

        async def plain(_refused: FormRefused) -> None:
            text = cut(one_line(card.title), MESSAGE_LIMIT)
            await self._post("/v2/alerts", {"message": text, "alias": alias, "priority": _priority(card)})

        if message.status == "resolved":
            await self._close(alias, card)
            return MessageRef(alias)
        _, note = await sent_or_plain(self.name, message, rich, plain)
        return MessageRef(alias, note)

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _close(self, alias: str, card: Card) -> None:
        content = {"source": SOURCE, "note": cut(one_line(card.text), DESCRIPTION_LIMIT)}
        await self._post(f"/v2/alerts/{quote(alias)}/close?identifierType=alias", content)

    async def _post(self, path: str, content: dict[str, Any]) -> None:
        key = self._api_key()
        if not key.isprintable():
            raise DeliveryFailed(f"{self.name}: the API key holds a line break or another control character")
        answer = await self._http.post_json(self._url + path, content, {"Authorization": f"GenieKey {key}"})
        self._http.check(answer, cures=_CURES)

    def _alert(self, message: Message, card: Card, alias: str) -> dict[str, Any]:
        common = common_pairs([alert.labels for alert in members(message)])
        severity = [card.severity] if card.severity else []
        tags = [cut(one_line(tag), TAG_LIMIT) for tag in (*self._tags, *severity)][:TAGS_LIMIT]
        alert: dict[str, Any] = {
            "message": cut(one_line(card.title), MESSAGE_LIMIT),
            "alias": alias,
            "description": cut("\n".join(one_line(line) for line in card.paragraphs), DESCRIPTION_LIMIT),
            "details": _details(common),
            "priority": _priority(card),
            "source": cut(SOURCE, SOURCE_LIMIT),
            "tags": tags,
        }
        if entity := common.get("instance") or common.get("node") or common.get("model"):
            alert["entity"] = cut(one_line(entity), ENTITY_LIMIT)
        if self._teams:
            alert["responders"] = [{"name": team, "type": "team"} for team in self._teams]
        return alert


def _priority(card: Card) -> str:
    return _PRIORITIES.get(card.severity, "P3")


def _details(labels: dict[str, str]) -> dict[str, str]:
    details: dict[str, str] = {}
    room = DETAILS_LIMIT
    for name, value in labels.items():
        shown = cut(one_line(value), 500)
        room -= len(name) + len(shown)
        if room < 0:
            break
        details[name] = shown
    return details
