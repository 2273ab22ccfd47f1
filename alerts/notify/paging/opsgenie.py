"""Delivers to Opsgenie, and to services with its API. A group of alerts is one alert there, by its alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from alerts.texts.places import OWN_RESPONDERS, details, items

MESSAGE_LIMIT, DESCRIPTION_LIMIT, TAG_LIMIT, TAGS_LIMIT, SOURCE_LIMIT, ENTITY_LIMIT = 130, 15_000, 50, 20, 100, 512
NOTE_LIMIT, ACTION_LIMIT, ACTIONS_LIMIT, RESPONDERS_LIMIT = 25_000, 50, 10, 50
DETAILS_LIMIT = 8_000
"""Characters of all details together, as Opsgenie takes them, without its own separators."""
RESPONDERS = ("team", "user", "escalation", "schedule")
PRIORITIES = ("P1", "P2", "P3", "P4", "P5")
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
        responders: Sequence[Mapping[str, str]] = (),
        people: Mapping[str, str] | None = None,
    ) -> None:
        """`responders`: `type`, and one of `name`, `username` and `id`, of each one that is no team by name.

        `people`: user names at Opsgenie, which are addresses, of those who may be on call, by name."""
        self.name, self._people = name, dict(people or {})
        self._api_key, self._http, self._url = api_key, http, url.rstrip("/")
        self._tags = tuple(tags)
        self._responders = [*({"name": team, "type": "team"} for team in teams), *map(dict, responders)]

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
        source = _own(card, "source", SOURCE_LIMIT) or SOURCE
        content = {"source": source, "note": cut(one_line(card.text), DESCRIPTION_LIMIT)}
        await self._post(f"/v2/alerts/{quote(alias)}/close?identifierType=alias", content)

    async def _post(self, path: str, content: dict[str, Any]) -> None:
        key = self._api_key()
        if not key.isprintable():
            raise DeliveryFailed(f"{self.name}: the API key holds a line break or another control character")
        answer = await self._http.post_json(self._url + path, content, {"Authorization": f"GenieKey {key}"})
        self._http.check(answer, cures=_CURES)

    def _alert(self, message: Message, card: Card, alias: str) -> dict[str, Any]:
        common, own = common_pairs([alert.labels for alert in members(message)]), details(card.texts)
        severity = [card.severity] if card.severity else []
        tags = [cut(one_line(tag), TAG_LIMIT) for tag in (*self._tags, *_split(card, "tags"), *severity)][:TAGS_LIMIT]
        told = (*card.own_lines, *card.facts) if card.own_lines else card.paragraphs
        alert: dict[str, Any] = {
            "message": cut(one_line(card.title), MESSAGE_LIMIT),
            "alias": alias,
            "description": cut("\n".join(map(one_line, told)), DESCRIPTION_LIMIT),
            # Those of the receiver's own first: where there is no room for all, labels are left out.
            "details": _details(own | {name: value for name, value in common.items() if name not in own}),
            "priority": _priority(card),
            "source": _own(card, "source", SOURCE_LIMIT) or SOURCE,
        }
        entity = common.get("instance") or common.get("node") or common.get("model") or ""
        further = {
            "tags": tags,
            "entity": _own(card, "entity", ENTITY_LIMIT) or cut(one_line(entity), ENTITY_LIMIT),
            "note": _lines(card.texts.get("note", ""), NOTE_LIMIT),
            "actions": [cut(one_line(action), ACTION_LIMIT) for action in _split(card, "actions")][:ACTIONS_LIMIT],
            "responders": self._all_responders(message, card),
        }
        return alert | {name: value for name, value in further.items() if value}

    def _all_responders(self, message: Message, card: Card) -> list[dict[str, str]]:
        names = message.on_call.people if message.on_call else ()
        found = [{"username": self._people[name], "type": "user"} for name in names if name in self._people]
        found += self._responders
        for one in items(card.texts, "responders")[:OWN_RESPONDERS]:
            kind = one.get("type", "").lower()
            given: dict[str, str] = {name: one_line(one[name]) for name in ("name", "username", "id") if name in one}
            if kind == "teams":
                found += [{"name": team, "type": "team"} for team in _list(given.get("name", ""))]
            elif kind in RESPONDERS and given:
                found.append({**given, "type": kind})
        return found[:RESPONDERS_LIMIT]


def _priority(card: Card) -> str:
    own = card.texts.get("priority", "").strip()
    return own if own in PRIORITIES else _PRIORITIES.get(card.severity, "P3")


def _own(card: Card, place: str, limit: int) -> str:
    return cut(one_line(card.texts.get(place, "").strip()), limit)


def _lines(text: str, limit: int) -> str:
    return cut("\n".join(map(one_line, text.strip().splitlines())), limit)


def _split(card: Card, place: str) -> list[str]:
    return _list(card.texts.get(place, ""))


def _list(text: str) -> list[str]:
    """Return the parts between commas that are not empty."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _details(values: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    room = DETAILS_LIMIT
    for name, value in values.items():
        shown = cut(one_line(value), 500)
        room -= len(name) + len(shown)
        if room < 0:
            break
        found[name] = shown
    return found
