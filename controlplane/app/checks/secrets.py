"""Secrets, certificates and programs that a section names and that cannot be used on this host. Blocking."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from alerts.errors import DeliveryFailed
from collectors.errors import ScrapeError
from collectors.http.credentials import authorization
from collectors.http.tls import verification
from collectors.target import Auth
from controlplane.app.notifying.secrets import secrets_of
from controlplane.config.auth import auth_of
from controlplane.config.notifiers import CommandSection, NotifierSection
from controlplane.config.vocabulary import Access, IssuedAccess, TlsSection, whole


def faults_of(auth: Auth) -> Iterator[str]:
    """Yield a sentence for each secret, and for each file of certificates, that cannot be used."""
    for read in (verification, authorization):
        try:
            read(auth)
        except ScrapeError as error:
            yield str(error)
    if auth.issuer:
        yield from faults_of(auth.issuer.secret)


def access_faults(section: Access) -> Iterator[tuple[str, str]]:
    """Yield field and sentence for each part of a section that cannot be used."""
    for name in ("authorization", "basic_auth", "tls", "oauth2"):
        part = getattr(section, name, None) if section.reads(name) else None
        if part is None or not whole(part):
            continue
        auth = auth_of(IssuedAccess.model_construct(**{name: part}))
        assert auth is not None
        yield from ((name, fault) for fault in faults_of(auth))


def notifier_faults(section: NotifierSection) -> Iterator[tuple[str, str]]:
    """Yield field and sentence for each secret of a notifier's own, its program and its TLS settings.

    The credentials of one that is an Access are `access_faults`.
    """
    for field, secret in secrets_of(section).items():
        try:
            secret()
        except DeliveryFailed as failure:
            yield field, str(failure)
    if isinstance(section, CommandSection) and shutil.which(section.command[0]) is None:
        yield "command", f"{section.command[0]} is no program that can be run here"
    if isinstance(tls := getattr(section, "tls", None), TlsSection) and not isinstance(section, Access):
        yield from access_faults(Access(tls=tls))
