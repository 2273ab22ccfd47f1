"""Makes an e-mail of a message: text and HTML, and the headers that keep a group's messages in one thread. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from html import escape
from typing import NamedTuple

from alerts.interfaces import Message
from alerts.notify.card import Card
from alerts.notify.text import cut, cut_bytes, one_line, whole_lines

SUBJECT_LIMIT = 200
"""Maximum length of a subject (chosen: mail programs show less)."""
BODY_LIMIT, CELL_LIMIT = 64 * 1024, 4096
"""Maximum sizes in bytes of a text, and of one value in the HTML (chosen)."""
PLACE = re.compile(r"<[0-9a-f]{32}@[^<>\s]{1,255}>")
"""A Message-ID that `message_id` made."""
_COLOURS = {"critical": "#c62828", "warning": "#ef8f00"}
_OVER, _OTHER = "#2e7d32", "#1565c0"


class Envelope(NamedTuple):
    """Addresses of an e-mail, each `a@b` or `Name <a@b>`."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    reply_to: str = ""

    @property
    def domain(self) -> str:
        """The sender's domain."""
        return address_of(self.sender).rpartition("@")[2] or "localhost"


def address_of(text: str) -> str:
    """Return the address within `Name <a@b>`."""
    return parseaddr(text)[1]


def message_id(message: Message, domain: str) -> str:
    """Return the Message-ID of a message. A repeat has the same, so that mailboxes can drop it."""
    return f"<{hashlib.sha256(message.id.encode()).hexdigest()[:32]}@{domain}>"


def email_of(message: Message, card: Card, envelope: Envelope, root: str | None, *, html: bool) -> EmailMessage:
    """Return the e-mail of a message. `root` is the Message-ID of the group's first e-mail."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = cut(one_line(card.title), SUBJECT_LIMIT)
    mail["From"], mail["To"] = envelope.sender, ", ".join(envelope.to)
    if envelope.cc:
        mail["Cc"] = ", ".join(envelope.cc)
    if envelope.reply_to:
        mail["Reply-To"] = envelope.reply_to
    if message.sent_at is not None:
        mail["Date"] = format_datetime(message.sent_at)
    own = message_id(message, envelope.domain)
    mail["Message-ID"] = own
    if root is not None and root != own:
        mail["In-Reply-To"] = mail["References"] = root
    # RFC 3834: nobody's out-of-office reply may answer.
    mail["Auto-Submitted"] = "auto-generated"
    if card.severity == "critical" and message.status != "resolved":
        mail["Importance"] = "high"
    told = (*card.own_lines, *card.facts) if card.own_lines else card.paragraphs
    mail.set_content(whole_lines(told, BODY_LIMIT) + "\n", cte="quoted-printable")
    if html:
        shown = _own_html(card) if card.texts.get("html", "").strip() else _html(card)
        mail.add_alternative(shown, subtype="html", cte="quoted-printable")
    return mail


def _html(card: Card) -> str:
    colour = _OVER if card.status == "resolved" else _COLOURS.get(card.severity, _OTHER)
    facts = "".join(
        f'<tr><td style="padding:2px 12px 2px 0;color:#666">{_shown(name)}</td><td>{_shown(value)}</td></tr>'
        for name, value in card.fields
    )
    lines = "".join(f"<li>{_shown(line)}</li>" for line in card.shown_lines)
    own = "<br>".join(map(_shown, card.own_lines))
    links = " · ".join(f'<a href="{escape(link.url)}">{_shown(link.text)}</a>' for link in card.links)
    return (
        '<!DOCTYPE html><html><body style="font-family:sans-serif;font-size:14px">'
        f'<h2 style="font-size:18px;border-left:6px solid {colour};padding-left:10px">{_shown(card.title)}</h2>'
        f'<table style="border-collapse:collapse">{facts}</table>{own}<ul>{lines}</ul><p>{links}</p>'
        f'<p style="color:#888;font-size:12px">{_shown(card.footer)}</p></body></html>\n'
    )


def _own_html(card: Card) -> str:
    """Return the receiver's own HTML, with what no template can show at its end."""
    own = card.texts["html"]
    added = "".join(f"<p>{_shown(line)}</p>" for line in card.facts) if card.own_lines else ""
    body, end, rest = own.rpartition("</body>")
    return f"{body}{added}{end}{rest}" if end else f"{own}{added}"


def _shown(text: str) -> str:
    return escape(cut_bytes(one_line(text), CELL_LIMIT))


def recipients(envelope: Envelope) -> Sequence[str]:
    """Return the addresses of all recipients, once each."""
    return list(dict.fromkeys(address_of(text) for text in (*envelope.to, *envelope.cc)))
