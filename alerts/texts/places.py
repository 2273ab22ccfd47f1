"""Names of the places of a receiver's own texts in messages: `title`, `details.who`, `fields.0.title`."""

from __future__ import annotations

from collections.abc import Mapping

DETAIL = "details."
"""Begin of the places of further details of PagerDuty and Opsgenie."""
OWN_LINKS, OWN_IMAGES, OWN_RESPONDERS = 10, 10, 20
"""Most links and images of PagerDuty, and responders of Opsgenie, that are templates (chosen)."""


def item(of: str, number: int, name: str) -> str:
    """Return the place of one text of an item of a list: `fields.0.title`."""
    return f"{of}.{number}.{name}"


def items(texts: Mapping[str, str], of: str) -> list[dict[str, str]]:
    """Return the texts of the items of each item of a list, in order. Empty ones are left out."""
    found: dict[int, dict[str, str]] = {}
    for place, text in texts.items():
        head, _, rest = place.partition(".")
        number, _, name = rest.partition(".")
        if head == of and text.strip():
            found.setdefault(int(number), {})[name] = text.strip()
    return [found[number] for number in sorted(found)]


def details(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the further details by name."""
    return {place.removeprefix(DETAIL): text for place, text in texts.items() if place.startswith(DETAIL)}


def web_address(text: str, limit: int) -> str:
    """Return a text if it is an address of HTTP of at most `limit` characters without spaces, else ""."""
    address = text.strip()
    good = address.startswith(("http://", "https://")) and address.isprintable() and " " not in address
    return address if good and len(address) <= limit else ""
