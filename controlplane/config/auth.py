"""Converts a section's credentials to the Auth of the HTTP clients."""

from __future__ import annotations

from collectors.target import Auth
from controlplane.config.vocabulary import Access


def auth_of(access: Access) -> Auth | None:
    """Return the Auth of a section, or None without credentials and TLS settings. Does not read the secrets."""
    header, basic, tls = access.authorization, access.basic_auth, access.tls
    if not (header or basic or tls):
        return None
    return Auth(
        scheme=header.type if header else "Bearer",
        credentials_file=str(header.credentials_file) if header and header.credentials_file else None,
        credentials_env=header.credentials_env if header else None,
        username=basic.username if basic else None,
        password_file=str(basic.password_file) if basic else None,
        ca_file=str(tls.ca_file) if tls and tls.ca_file else None,
        insecure_skip_verify=tls.insecure_skip_verify if tls else False,
        cert_file=str(tls.cert_file) if tls and tls.cert_file else None,
        key_file=str(tls.key_file) if tls and tls.key_file else None,
        server_name=tls.server_name or "" if tls else "",
    )
