"""TLS of the listener and of connections to engines. Files of certificates are read again when they change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from controlplane.gateway.errors import BadTls
from controlplane.gateway.wire.settings import TlsFiles

Stamp = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file."""


NO_PASSPHRASE = ""
"""Without it, ssl asks for the passphrase of a key at the terminal, and the process waits."""


def stamp(*paths: str) -> Stamp:
    """Return what changes when one of the files does. Raises OSError."""
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in (Path(path).stat() for path in paths))


def listener_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a listener. Raises BadTls."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    at = files.cert_file
    try:
        context.load_cert_chain(files.cert_file, files.key_file, password=NO_PASSPHRASE)
        if files.client_ca_file is not None:
            at = files.client_ca_file
            context.load_verify_locations(cafile=files.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise BadTls(f"the certificate of the listener cannot be used: {at}: {error}") from error
    return context


def listener_stamp(files: TlsFiles) -> Stamp:
    """Return what changes when a file of the listener's does. Raises OSError."""
    return stamp(*(path for path in (files.cert_file, files.key_file, files.client_ca_file) if path))


@dataclass(frozen=True, slots=True)
class Trust:
    """Settings for the check of an engine's certificate, and the certificate that is shown to it. "": none."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    """Name that the engine's certificate is to have. "": the host that is connected to."""
    insecure: bool = False


SYSTEM = Trust()
"""The authorities of the system are trusted, and no certificate is shown."""


class UpstreamTls:
    """Contexts for connections to engines, one for each way of checking their certificates."""

    def __init__(self) -> None:
        self._contexts: dict[Trust, tuple[Stamp, ssl.SSLContext]] = {}

    def context(self, trust: Trust) -> ssl.SSLContext:
        """Return the context. A changed file is read again; while one cannot be read, the last context stays.

        Raises OSError or ssl.SSLError when there is no last one.
        """
        kept = self._contexts.get(trust)
        try:
            now = stamp(*(path for path in (trust.ca_file, trust.cert_file, trust.key_file) if path))
            if kept is not None and kept[0] == now:
                return kept[1]
            context = ssl.create_default_context(cafile=trust.ca_file or None)
            if trust.cert_file:
                context.load_cert_chain(trust.cert_file, trust.key_file, password=NO_PASSPHRASE)
        except OSError:
            if kept is not None:
                return kept[1]
            raise
        if trust.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        self._contexts[trust] = (now, context)
        return context
