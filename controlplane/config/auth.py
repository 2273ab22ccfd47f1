"""From a section's credentials to what the HTTP clients take."""

from __future__ import annotations

from collectors.target import Auth
from controlplane.config.vocabulary import Access


def auth_of(access: Access) -> Auth | None:
    """Return how a server is asked, or None without credentials and TLS settings. Secrets stay where they are."""
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
    )
