"""The look that a receiver's own texts give to Slack's messages: colour, sender, pictures. Pure.

Templates write these texts, so they may hold anything. What Slack would not take is left out.
"""

from __future__ import annotations

import re
from typing import Any

from alerts.notify.card import Card
from alerts.notify.text import cut, one_line
from alerts.texts.places import web_address

URL_LIMIT = 3000
"""Characters of an address, as Slack takes it in Block Kit."""
USERNAME_LIMIT = 80
"""Characters of a sender's name (chosen: Slack gives no limit and shows fewer)."""
_COLOUR = re.compile(r"good|warning|danger|#?(?:[0-9a-fA-F]{3}){1,2}")
_EMOJI = re.compile(r":[a-z0-9_+'-]{1,100}:")


def colour(card: Card) -> str:
    """Return the colour of the bar beside the message: `good`, `warning`, `danger` or hex digits; "" for no bar."""
    text = card.texts.get("color", "").strip()
    if not _COLOUR.fullmatch(text):
        return ""
    return text if text[0] == "#" or text in ("good", "warning", "danger") else f"#{text}"


def sender(card: Card) -> dict[str, str]:
    """Return the name and picture under which Slack shows the message, as arguments of chat.postMessage."""
    name = cut(one_line(card.texts.get("username", "").strip()), USERNAME_LIMIT)
    emoji = card.texts.get("icon_emoji", "").strip()
    found = {
        "username": name,
        "icon_emoji": emoji if _EMOJI.fullmatch(emoji) else "",
        "icon_url": address(card, "icon_url"),
    }
    return {argument: value for argument, value in found.items() if value}


def pictures(card: Card) -> list[dict[str, Any]]:
    """Return an attachment with the message's pictures, or none.

    It is none of Block Kit's images: Slack refuses a whole message for an image that it cannot download.
    """
    found = {place: url for place in ("image_url", "thumb_url") if (url := address(card, place))}
    return [{"fallback": one_line(card.title), **found}] if found else []


def address(card: Card, place: str) -> str:
    """Return an own text that is an address of HTTP; "" for any other text."""
    return web_address(card.texts.get(place, ""), URL_LIMIT)
