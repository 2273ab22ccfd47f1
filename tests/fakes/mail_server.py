"""aiosmtpd on a free port, with mailboxes in memory, able to refuse at each step of the conversation."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOGIN = LoginPassword(b"alerts", b"right")


@dataclass
class MailServer:
    """A server for e-mail and what it accepted."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    """Sender and recipients of each accepted e-mail."""
    encrypted: list[bool] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    """Answers by step: `MAIL`, `RCPT a@b`, `DATA`, `DATA html` for contents with HTML."""
    hangs: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self.refuses:
            return self.refuses["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self.refuses.get(f"RCPT {address}"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.hangs:
            await self.released.wait()
        mail = message_from_bytes(envelope.content or b"", policy=policy.default)  # type: ignore[arg-type]
        assert isinstance(mail, EmailMessage)
        for step in ("DATA html", "DATA"):
            if step in self.refuses and (step == "DATA" or mail.is_multipart()):
                return self.refuses[step]
        self.mails.append(mail)
        self.envelopes.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 OK"


@asynccontextmanager
async def mail_server(
    tls: ssl.SSLContext | None = None, *, starttls: bool = False, login: bool = False
) -> AsyncIterator[MailServer]:
    """Serve until the block ends: in clear, with STARTTLS, or with TLS from the start."""
    state = MailServer()
    options: dict[str, Any] = {"auth_required": login, "auth_require_tls": False, "hostname": "mail.test"}
    if login:
        options["authenticator"] = lambda *args: AuthResult(success=args[-1] == LOGIN, handled=False)
    if starttls:
        options |= {"tls_context": tls, "require_starttls": True}
    loop = asyncio.get_running_loop()
    direct = tls if tls and not starttls else None

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            # aiosmtpd warns of a login without STARTTLS, also where the whole connection is TLS.
            warnings.simplefilter("ignore")
            return SMTP(state, loop=loop, **options)

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=direct)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        state.released.set()
        server.close()
        await server.wait_closed()
