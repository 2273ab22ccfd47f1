"""TLS settings for the clients of the collectors: which certificates they accept, and which they show."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from collectors.errors import ScrapeError
from collectors.target import Auth

_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----")
"""Part of a text that is read. The comments between certificates may have any characters, and ssl takes ASCII alone."""


class TlsContexts:
    """TLS settings of one target. A changed file is loaded again, so that rotation needs no restart."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._loaded: tuple[object, ...] = ()

    def verification(self, auth: Auth) -> ssl.SSLContext | bool:
        """Return the value for aiohttp's `ssl=`: a context, True for the system's CAs, False for no check.

        Blocking. Raises ScrapeError, which names the file, when one cannot be used.
        """
        if not (auth.cert_file or auth.server_name):
            if auth.insecure_skip_verify:
                return False
            if not (auth.ca or auth.ca_file):
                return True
        stamps = (
            _stamp("CA", auth.ca_file) if auth.ca_file and not auth.ca else None,
            _stamp("certificate", auth.cert_file) if auth.cert_file else None,
            _stamp("key", auth.key_file) if auth.key_file else None,
        )
        wanted = auth.ca, auth.ca_file, auth.cert_file, auth.key_file, auth.server_name, auth.insecure_skip_verify
        if self._context is None or self._loaded != (*wanted, *stamps):
            self._context, self._loaded = _context(auth), (*wanted, *stamps)
        return self._context


class _Context(ssl.SSLContext):
    """A context that asks for a server's certificate of another name than the URL's host."""

    server_name = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Return the connection, as asyncio asks for it."""
        name = self.server_name or server_hostname
        return super().wrap_bio(incoming, outgoing, server_side, name, session)


def _stamp(what: str, path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ScrapeError(f"cannot read the {what} file {path}: {error.strerror}") from error
    return stat.st_mtime_ns, stat.st_size


def _context(auth: Auth) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = auth.server_name
    if auth.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif auth.ca:
        _trust_text(context, auth.ca)
    elif auth.ca_file:
        try:
            context.load_verify_locations(cafile=auth.ca_file)
        except ssl.SSLError as error:
            raise ScrapeError(f"the CA file {auth.ca_file} holds no PEM certificate") from error
        except OSError as error:
            raise ScrapeError(f"cannot read the CA file {auth.ca_file}: {error.strerror}") from error
    else:
        context.load_default_certs()
    if auth.cert_file:
        _show(context, auth.cert_file, auth.key_file)
    return context


def _show(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    files = f"the certificate {cert_file} and its key {key_file}"
    try:
        context.load_cert_chain(cert_file, key_file, password="")  # without one, ssl asks at the terminal
    except ssl.SSLError as error:
        cure = "expected PEM, a key without a passphrase, and the key of that certificate"
        raise ScrapeError(f"{files} cannot be used together: {cure}") from error
    except OSError as error:
        raise ScrapeError(f"{files} cannot be read: {error.strerror}") from error


def _trust_text(context: ssl.SSLContext, authorities: str) -> None:
    try:
        certificates = "\n".join(found[0] for found in _CERTIFICATE.finditer(authorities))
        if not certificates:
            raise ValueError("no certificate")  # ssl would use the system's authorities
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise ScrapeError("the authority (ca) in the settings is no PEM certificate") from error
