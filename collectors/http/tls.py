"""TLS settings for the clients of the collectors: which certificates they accept, and which they show."""

from __future__ import annotations

import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from collectors.errors import ScrapeError
from collectors.target import Auth

SHARED = 256
"""Maximum number of contexts that are kept. Targets with the same settings share one, because one with the system's
authorities takes 0.8 MB, and 50 ms of CPU."""
_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----")
"""Part of a text that is read. The comments between certificates may have any characters, and ssl takes ASCII alone."""


class _Wanted(NamedTuple):
    """Settings of a context, and what changes when one of their files does."""

    ca: str
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    cert: str
    key: str
    insecure: bool
    stamps: tuple[tuple[int, int, int] | None, ...]


def verification(auth: Auth) -> ssl.SSLContext | bool:
    """Return the value for aiohttp's `ssl=`: a context, True for the system's CAs, False for no check.

    A changed file is loaded again, so that rotation needs no restart. `server_name` is for aiohttp's
    `server_hostname=`. Blocking. Raises ScrapeError, which names the file, when one cannot be used.
    """
    if not (auth.cert_file or auth.cert):
        if auth.insecure_skip_verify:
            return False
        if not (auth.ca or auth.ca_file):
            return True
    ca_file = None if auth.ca or auth.insecure_skip_verify else auth.ca_file
    ca = "" if auth.insecure_skip_verify else auth.ca
    stamps = _stamp("CA", ca_file), _stamp("certificate", auth.cert_file), _stamp("key", auth.key_file)
    own = auth.cert_file, auth.key_file, auth.cert, auth.key
    return _context(_Wanted(ca, ca_file, *own, auth.insecure_skip_verify, stamps))


def _stamp(what: str, path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ScrapeError(f"cannot read the {what} file {path}: {error.strerror}") from error
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(SHARED)
def _context(wanted: _Wanted) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if wanted.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif wanted.ca:
        _trust_text(context, wanted.ca)
    elif wanted.ca_file:
        try:
            context.load_verify_locations(cafile=wanted.ca_file)
        except ssl.SSLError as error:
            raise ScrapeError(f"the CA file {wanted.ca_file} holds no PEM certificate") from error
        except OSError as error:
            raise ScrapeError(f"cannot read the CA file {wanted.ca_file}: {error.strerror}") from error
    else:
        context.load_default_certs()
    if wanted.cert_file or wanted.cert:
        _show(context, wanted)
    return context


def _show(context: ssl.SSLContext, wanted: _Wanted) -> None:
    files = f"the certificate {wanted.cert_file or '(cert)'} and its key {wanted.key_file or '(key)'}"
    try:
        with _named(wanted.cert_file, wanted.cert) as cert, _named(wanted.key_file, wanted.key) as key:
            context.load_cert_chain(cert, key, password="")  # without one, ssl asks at the terminal
    except ssl.SSLError as error:
        cure = "expected PEM, a key without a passphrase, and the key of that certificate"
        raise ScrapeError(f"{files} cannot be used together: {cure}") from error
    except OSError as error:
        raise ScrapeError(f"{files} cannot be read: {error.strerror}") from error


@contextmanager
def _named(path: str | None, text: str) -> Iterator[str]:
    """Yield the name of a file with a text, for ssl, which takes no text. The file is in memory where it can be."""
    if path or not text:
        yield path or ""
    elif sys.platform == "linux":
        with os.fdopen(os.memfd_create("pem"), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # only its owner may read it
            file.write(text)
            file.flush()
            yield file.name


def _trust_text(context: ssl.SSLContext, authorities: str) -> None:
    try:
        certificates = "\n".join(found[0] for found in _CERTIFICATE.finditer(authorities))
        if not certificates:
            raise ValueError("no certificate")  # ssl would use the system's authorities
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise ScrapeError("the authority (ca) in the settings is no PEM certificate") from error
