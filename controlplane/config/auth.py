"""Converts a section's credentials to the Auth of the HTTP clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collectors.clouds.client_credentials import ClientCredentials
from collectors.samples import labels_of
from collectors.target import Auth, IssuedAuth, Proxy
from controlplane.config.vocabulary import Access, IssuedAccess, OAuth2Section, ProxySection, TlsSection


def auth_of(access: Access) -> Auth | None:
    """Return the Auth of a section, or None without credentials and TLS settings. Does not read the secrets."""
    header, basic, tls = access.authorization, access.basic_auth, access.tls
    oauth2 = access.oauth2 if isinstance(access, IssuedAccess) else None
    proxy = proxy_of(access) if isinstance(access, IssuedAccess) else None
    if not (header or basic or tls or oauth2 or proxy):
        return None
    fields: dict[str, Any] = dict(
        scheme=header.type if header else "Bearer",
        credentials_file=_path(header.credentials_file) if header else None,
        credentials_env=header.credentials_env if header else None,
        username=basic.username if basic else None,
        password_file=str(basic.password_file) if basic else None,
        proxy=proxy,
        **_tls(tls),
    )
    return IssuedAuth(**fields, oauth2=issuer_of(oauth2)) if oauth2 else Auth(**fields)


def issuer_of(section: OAuth2Section) -> ClientCredentials:
    """Return the issuer of a section. Does not read the secret."""
    secret = Auth(
        credentials_file=_path(section.client_secret_file),
        credentials_env=section.client_secret_env,
        proxy=proxy_of(section),
        **_tls(section.tls),
    )
    return ClientCredentials(
        section.token_url, section.client_id, secret, section.scopes, labels_of(section.endpoint_params)
    )


def proxy_of(section: ProxySection) -> Proxy | None:
    """Return the proxy of a section."""
    if section.proxy_from_environment:
        return Proxy(from_environment=True)
    return Proxy(section.proxy_url, section.no_proxy or "") if section.proxy_url else None


def posted(tls: TlsSection | None, section: ProxySection) -> Auth | None:
    """Return the Auth of a section without credentials; None without TLS settings and proxy."""
    proxy = proxy_of(section)
    return Auth(proxy=proxy, **_tls(tls)) if tls or proxy else None


def _tls(tls: TlsSection | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ca_file": _path(tls.ca_file),
        "insecure_skip_verify": tls.insecure_skip_verify,
        "cert_file": _path(tls.cert_file),
        "key_file": _path(tls.key_file),
        "server_name": tls.server_name or "",
    }


def _path(path: Path | None) -> str | None:
    return str(path) if path else None
