"""TLS settings for the clients of the collectors: which certificates they accept."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from collectors.errors import ScrapeError
from collectors.target import Auth

_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----")
"""Part of a text that is read. The comments between certificates may have any characters, and ssl takes ASCII alone."""


class TlsContexts:
    """TLS settings of one target. A changed CA is loaded again, so that rotation needs no restart."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._loaded: tuple[int, int] | str | None = None

    def verification(self, auth: Auth) -> ssl.SSLContext | bool:
        """Return the value for aiohttp's `ssl=`: a context, True for the system's CAs, False for no check.

        Blocking. Raises ScrapeError, which names the CA file, when it cannot be used.
        """
        if auth.insecure_skip_verify:
            return False
        if auth.ca:
            return self._of_text(auth.ca)
        if not auth.ca_file:
            return True
        try:
            stat = Path(auth.ca_file).stat()
            if self._context is None or self._loaded != (stat.st_mtime_ns, stat.st_size):
                self._context = ssl.create_default_context(cafile=auth.ca_file)
                self._loaded = (stat.st_mtime_ns, stat.st_size)
        except ssl.SSLError as error:
            raise ScrapeError(f"the CA file {auth.ca_file} holds no PEM certificate") from error
        except OSError as error:
            raise ScrapeError(f"cannot read the CA file {auth.ca_file}: {error.strerror}") from error
        return self._context

    def _of_text(self, authorities: str) -> ssl.SSLContext:
        try:
            if self._context is None or self._loaded != authorities:
                certificates = "\n".join(found[0] for found in _CERTIFICATE.finditer(authorities))
                if not certificates:
                    raise ValueError("no certificate")  # ssl would use the system's authorities
                self._context = ssl.create_default_context(cadata=certificates)
                self._loaded = authorities
        except (ssl.SSLError, ValueError, TypeError) as error:
            raise ScrapeError("the authority (ca) in the settings is no PEM certificate") from error
        return self._context
