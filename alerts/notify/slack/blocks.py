"""Draws a card as Slack's Block Kit, within its limits. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alerts.interfaces import Button
from alerts.notify.card import Card
from alerts.notify.slack.look import URL_LIMIT, address, colour, pictures
from alerts.notify.slack.text import cut, escape, mentioned, one_line
from alerts.texts.places import items, web_address

# Slack's limits on blocks, docs.slack.dev/reference/block-kit.
HEADER_LIMIT, SECTION_LIMIT, FIELD_LIMIT, CONTEXT_LIMIT, FALLBACK_LIMIT = 150, 3000, 2000, 2000, 3000
FIELDS_LIMIT, BUTTONS_LIMIT = 10, 25
BUTTON_TEXT_LIMIT, CONFIRM_TITLE_LIMIT, CONFIRM_TEXT_LIMIT, CONFIRM_BUTTON_LIMIT = 75, 100, 300, 30
PARTS_LIMIT = 5
"""Sections of one of the receiver's own texts. Chosen: 15,000 characters, and far fewer than 50 blocks."""
OWN_FIELDS, OWN_ACTIONS = 20, 5
"""Fields and buttons of the receiver's own (chosen: with all others, fewer than 50 blocks and 25 buttons)."""
FOOTER_LIMIT = 300
"""Characters of a footer of the receiver's own: Slack's limit for that of an attachment."""
_SIGNS = {"critical": ":red_circle:", "warning": ":large_yellow_circle:"}


def slack_message(card: Card) -> dict[str, Any]:
    """Return text, blocks and attachments of a message.

    Slack has a bar of colour at attachments alone. With one, the text is the title, which Slack shows above the bar,
    and the attachment has all other blocks. Slack keeps an earlier version's blocks and attachments where an update
    has none, so both are there.
    """
    if not (bar := colour(card)):
        return {"text": mentioned(card, slack_text(card)), "blocks": slack_blocks(card), "attachments": pictures(card)}
    beside = {"color": bar, "fallback": slack_text(card), "blocks": slack_blocks(replace(card, mentions=()))[1:]}
    return {"text": mentioned(card, _title(card)), "blocks": [], "attachments": [beside, *pictures(card)]}


def with_chart(content: dict[str, Any], chart: dict[str, Any]) -> dict[str, Any]:
    """Return a message with a chart before the buttons and the footer, which are the last blocks."""
    if content["blocks"]:
        return content | {"blocks": _with_chart(content["blocks"], chart)}
    beside, *others = content["attachments"]
    return content | {"attachments": [beside | {"blocks": _with_chart(beside["blocks"], chart)}, *others]}


def _with_chart(blocks: list[dict[str, Any]], chart: dict[str, Any]) -> list[dict[str, Any]]:
    at = next((n for n, block in enumerate(blocks) if block["type"] in ("actions", "context")), 0)
    return [*blocks[:at], chart, *blocks[at:]]


def slack_blocks(card: Card) -> list[dict[str, Any]]:
    """Draw a card as Block Kit, within Slack's limits. The first block is the title."""
    blocks = [_header(card)]
    if card.mentions:
        blocks.append(_section(mentioned(card, card.words.called)))
    for place in ("pretext", "text"):
        blocks += [_section(part) for part in _parts(card.texts.get(place, ""))]
    blocks += _own_fields(card)
    fields = [_mrkdwn(f"*{escape(name)}*\n{escape(value)}", FIELD_LIMIT) for name, value in card.fields]
    if fields:
        blocks.append({"type": "section", "fields": fields[:FIELDS_LIMIT]})
    lines = [f"• {escape(line)}" for line in card.lines]
    lines += list(card.shown_lines[len(card.lines) :])
    if lines:
        blocks.append(_section("\n".join(lines)))
    buttons = [_button(button) for button in card.buttons] + _links(card)
    if buttons:
        blocks.append({"type": "actions", "elements": buttons[:BUTTONS_LIMIT]})
    footer = escape(cut(card.texts.get("footer", "").strip(), FOOTER_LIMIT))
    footers = [text for text in (footer, escape(card.footer)) if text]
    blocks.append({"type": "context", "elements": [_mrkdwn(text, CONTEXT_LIMIT) for text in footers]})
    return blocks


def slack_text(card: Card) -> str:
    """Return the text of a card that notifications on a screen show, in mrkdwn."""
    own = card.texts.get("fallback", "").strip()
    return cut(own, FALLBACK_LIMIT) if own else escape(cut(card.text, FALLBACK_LIMIT))


def slack_plain(card: Card) -> str:
    """Return a card as one text of mrkdwn."""
    own = [part for place in ("pretext", "text") for part in _parts(card.texts.get(place, ""))]
    own += [f"{escape(title)}: {one_line(value)}" for title, value, _ in _given_fields(card)]
    return cut("\n".join([escape(card.title), *own, *map(escape, card.below)]), FALLBACK_LIMIT)


def _header(card: Card) -> dict[str, Any]:
    """Return the title: a header, or a section where it is a link, which a header cannot have."""
    if address(card, "title_link"):
        return _section(_title(card))
    text = cut(f"{_sign(card)} {one_line(card.title)}", HEADER_LIMIT)
    return {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": True}}


def _title(card: Card) -> str:
    """Return the title in bold mrkdwn, with its link."""
    title = escape(cut(one_line(card.title), HEADER_LIMIT))
    if url := address(card, "title_link"):
        for character in "<>|":
            url = url.replace(character, f"%{ord(character):02X}")
        title = f"<{url.replace('&', '&amp;')}|{title}>"
    return f"{_sign(card)} *{title}*"


def _sign(card: Card) -> str:
    return ":large_green_circle:" if card.status == "resolved" else _SIGNS.get(card.severity, ":large_blue_circle:")


def _given_fields(card: Card) -> list[tuple[str, str, bool]]:
    """Return title, value in mrkdwn, and whether it is short, of each field of the receiver's own."""
    found = [(one.get("title", ""), one.get("value", ""), "short" in one) for one in items(card.texts, "fields")]
    return [field for field in found if field[0] or field[1]][:OWN_FIELDS]


def _own_fields(card: Card) -> list[dict[str, Any]]:
    """Return sections: short fields stand beside each other, each other one has a section of its own."""
    blocks: list[dict[str, Any]] = []
    for title, value, is_short in _given_fields(card):
        text = _mrkdwn("\n".join(filter(None, (f"*{escape(title)}*" if title else "", value))), FIELD_LIMIT)
        if not is_short:
            blocks.append({"type": "section", "text": text})
        elif blocks and 0 < len(blocks[-1].get("fields", ())) < FIELDS_LIMIT:
            blocks[-1]["fields"].append(text)
        else:
            blocks.append({"type": "section", "fields": [text]})
    return blocks


def _links(card: Card) -> list[dict[str, Any]]:
    """Return buttons that are links: those of the card, and those of the receiver's own."""
    buttons = [
        {"type": "button", "text": {"type": "plain_text", "text": link.text}, "url": link.url, "action_id": link.text}
        for link in card.links
        if len(link.url) <= URL_LIMIT
    ]
    for number, one in enumerate(items(card.texts, "actions")[:OWN_ACTIONS]):
        url, text = web_address(one.get("url", ""), URL_LIMIT), one.get("text", "")
        if url and text:
            style = {"style": one["style"]} if one.get("style") in ("primary", "danger") else {}
            label = _plain_text(text, BUTTON_TEXT_LIMIT)
            buttons.append({"type": "button", "text": label, "url": url, "action_id": f"link{number}", **style})
    return buttons


def _parts(text: str) -> list[str]:
    """Return a text of mrkdwn with several lines in parts that sections can hold."""
    parts: list[str] = []
    for line in map(one_line, text.strip().splitlines()):
        if parts and len(parts[-1]) + 1 + len(line) <= SECTION_LIMIT:
            parts[-1] += f"\n{line}"
        else:
            parts.append(cut(line, SECTION_LIMIT))
    return (
        parts
        if len(parts) <= PARTS_LIMIT
        else [*parts[: PARTS_LIMIT - 1], cut(parts[PARTS_LIMIT - 1] + "\n…", SECTION_LIMIT)]
    )


def _button(button: Button) -> dict[str, Any]:
    text = _plain_text(button.text, BUTTON_TEXT_LIMIT)
    drawn: dict[str, Any] = {"type": "button", "text": text, "action_id": button.action, "value": button.value}
    if button.style:
        drawn["style"] = button.style
    if button.confirm:
        drawn["confirm"] = {
            "title": _plain_text(button.text, CONFIRM_TITLE_LIMIT),
            "text": _plain_text(button.confirm, CONFIRM_TEXT_LIMIT),
            "confirm": _plain_text(button.text, CONFIRM_BUTTON_LIMIT),
            "deny": {"type": "plain_text", "text": "Cancel"},
        } | ({"style": button.style} if button.style else {})
    return drawn


def _plain_text(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(one_line(text), limit)}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text, SECTION_LIMIT)}


def _mrkdwn(text: str, limit: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": cut(text, limit)}
