"""Delivers by e-mail. The messages of a group are one thread: each refers to the group's first by its Message-ID."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

import aiosmtplib

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.notify.card import render
from alerts.notify.email_message import PLACE, Envelope, address_of, email_of, message_id, recipients
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import cut, one_line
from alerts.notify.words import ENGLISH, Words

Security = Literal["starttls", "tls", "none"]
GOOD_BYE_S = 1.0
"""Seconds for QUIT. The server has accepted the message before, so nothing depends on its answer."""
_AUTH_CURE = "check the user name and the password"


@dataclass(frozen=True)
class MailServer:
    """A server for sending e-mail."""

    host: str
    port: int
    security: Security = "starttls"
    username: str = ""
    password: Callable[[], str] | None = None
    """Called at every send. May raise DeliveryFailed."""
    ca_file: str = ""
    skip_verify: bool = False
    hello: str = "localhost"
    """This machine's name in EHLO."""


class EmailNotifier:
    """Implements alerts.interfaces.Notifier by SMTP. E-mails are not updated in place, so an edit sends nothing."""

    def __init__(
        self,
        name: str,
        server: MailServer,
        envelope: Envelope,
        *,
        words: Words = ENGLISH,
        html: bool = True,
        people: Mapping[str, str] | None = None,
        timeout_s: float = 12.0,
    ) -> None:
        """`people`: addresses of those who may be on call, by name."""
        self.name, self._people = name, dict(people or {})
        self._server, self._envelope = server, envelope
        self._words, self._html, self._timeout_s = words, html, timeout_s

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Send the message to all recipients. Return the Message-ID of the group's first e-mail.

        Raises DeliveryFailed when no recipient gets it. The note names recipients that the server refused.
        """
        if message.edit:
            return None
        first = root.place if root is not None and PLACE.fullmatch(root.place) else None
        card, envelope = render(message, self._words), self._addressed(message)

        async def with_html() -> str:
            return await self._deliver(email_of(message, card, envelope, first, html=self._html), envelope)

        async def as_text(_refused: FormRefused) -> str:
            return await self._deliver(email_of(message, card, envelope, first, html=False), envelope)

        refused, note = await sent_or_plain(self.name, message, with_html, as_text)
        told = "; ".join(part for part in (note, refused) if part)
        return MessageRef(first or message_id(message, self._envelope.domain), told)

    async def close(self) -> None:
        """Do nothing: a connection lasts for one message."""

    def _addressed(self, message: Message) -> Envelope:
        """Return the envelope to the people on call, or to its own recipients when none of them has an address."""
        names = message.on_call.people if message.on_call else ()
        called = tuple(self._people[name] for name in names if name in self._people)
        return self._envelope._replace(to=called) if called else self._envelope

    async def _deliver(self, mail: EmailMessage, envelope: Envelope) -> str:
        """Send an e-mail; return a sentence about refused recipients, or ""."""
        password = await asyncio.to_thread(self._server.password) if self._server.password else ""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._converse(mail, password, envelope)
        except TimeoutError:
            raise self._failed(f"did not finish within {self._timeout_s:g} s") from None
        except aiosmtplib.SMTPException as error:
            raise self._refused(error) from None
        except (OSError, UnicodeError, ValueError) as error:
            raise self._unreachable(error) from None

    async def _converse(self, mail: EmailMessage, password: str, envelope: Envelope) -> str:
        server = self._server
        context = await asyncio.to_thread(self._context) if server.security != "none" else None
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=False,
            tls_context=context,
            timeout=self._timeout_s,
            local_hostname=server.hello,
        )
        try:
            await smtp.connect()
            await smtp.ehlo()
            if server.security == "starttls":
                if not smtp.supports_extension("starttls"):
                    raise self._failed("does not offer STARTTLS; set security: tls, or none", permanent=True)
                await smtp.starttls()
            if server.username:
                await smtp.login(server.username, password)
            sender, to = address_of(envelope.sender), list(recipients(envelope))
            refused, _ = await smtp.sendmail(sender, to, mail.as_bytes())
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await smtp.quit(timeout=GOOD_BYE_S)
        finally:
            smtp.close()
        return "; ".join(
            f"not accepted for {address}: {code} {_shown(text)}" for address, (code, text) in refused.items()
        )

    def _context(self) -> ssl.SSLContext:
        server = self._server
        try:
            context = ssl.create_default_context(cafile=server.ca_file or None)
        except ssl.SSLError:
            raise self._failed(f": the CA file {server.ca_file} holds no PEM certificate") from None
        except OSError as error:
            raise self._failed(f": cannot read the CA file {server.ca_file}: {error.strerror}") from None
        if server.skip_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _refused(self, error: aiosmtplib.SMTPException) -> DeliveryFailed:
        """Translate an error. No message contains the password or the content."""
        match error:
            case aiosmtplib.SMTPRecipientsRefused():
                told = "; ".join(f"{one.recipient}: {one.code} {_shown(one.message)}" for one in error.recipients)
                final = all(one.code >= 500 for one in error.recipients)
                return self._failed(f"accepts no recipient ({told})", permanent=final)
            case aiosmtplib.SMTPDataError() if error.code >= 500:
                return FormRefused(self._sentence(f"refuses the content: {error.code} {_shown(error.message)}"))
            case aiosmtplib.SMTPAuthenticationError():
                sentence = f"refuses the login: {error.code} {_shown(error.message)}; {_AUTH_CURE}"
                return self._failed(sentence, permanent=error.code >= 500)
            case aiosmtplib.SMTPResponseException():
                sentence = f"answered {error.code} {_shown(error.message)}"
                return self._failed(sentence, permanent=error.code >= 500)
            case aiosmtplib.SMTPServerDisconnected():
                return self._failed("closed the connection")
            case aiosmtplib.SMTPTimeoutError():
                return self._failed(f"did not finish within {self._timeout_s:g} s")
            case aiosmtplib.SMTPConnectError():
                return self._unreachable(error.__cause__ or error)
            case _:
                return self._failed(_shown(str(error)), permanent="not supported" in str(error))

    def _unreachable(self, error: BaseException) -> DeliveryFailed:
        if isinstance(error, ssl.SSLCertVerificationError):
            sentence = f"TLS certificate refused: {error.verify_message}; renew it, or name its CA in ca_file:"
            return self._failed(sentence, permanent=True)
        if isinstance(error, ssl.SSLError):
            return self._failed("TLS handshake failed: the port has no TLS; check port: and security:", permanent=True)
        why = (error.strerror if isinstance(error, OSError) else "") or _shown(str(error)) or type(error).__name__
        return self._failed(f"cannot be reached: {why}")

    def _failed(self, what: str, *, permanent: bool = False) -> DeliveryFailed:
        return DeliveryFailed(self._sentence(what), permanent=permanent)

    def _sentence(self, what: str) -> str:
        return f"{self.name}: {self._server.host}:{self._server.port} {what}".replace(" : ", ": ")


def _shown(text: str) -> str:
    return cut(one_line(text.strip()), 200)
