"""Credentials and TLS settings of a job, or of a server of addresses, in a prometheus.yml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from collectors.clouds.client_credentials import ClientCredentials
from collectors.target import Auth, Proxy, auth_with
from controlplane.config.scraping.prometheus.sections import Section, check_url
from controlplane.config.vocabulary import host_name

FIELDS = (
    "authorization", "basic_auth", "bearer_token", "bearer_token_file", "enable_http2", "follow_redirects",
    "http_headers", "no_proxy", "oauth2", "proxy_connect_header", "proxy_from_environment", "proxy_url", "tls_config",
)  # fmt: skip
"""Fields of Prometheus's HTTP clients."""
_BASIC = (
    "username", "username_file", "username_ref", "password", "password_file", "password_ref",
)  # fmt: skip
_HEADER = ("type", "credentials", "credentials_file", "credentials_ref")
TLS = (
    "ca", "ca_file", "ca_ref", "cert", "cert_file", "cert_ref", "key", "key_file", "key_ref", "server_name",
    "insecure_skip_verify", "min_version", "max_version",
)  # fmt: skip
_OAUTH2 = (
    "audience", "claims", "client_certificate_key", "client_certificate_key_file", "client_certificate_key_id",
    "client_certificate_key_ref", "client_id", "client_secret", "client_secret_file", "client_secret_ref",
    "endpoint_params", "grant_type", "iss", "no_proxy", "proxy_connect_header", "proxy_from_environment", "proxy_url",
    "scopes", "signature_algorithm", "tls_config", "token_url",
)  # fmt: skip
_OAUTH2_TAKEN = (
    "client_id", "client_secret", "client_secret_file", "endpoint_params", "no_proxy", "proxy_from_environment",
    "proxy_url", "scopes", "tls_config", "token_url",
)  # fmt: skip
_TAKEN = ("ca", "ca_file", "cert", "cert_file", "insecure_skip_verify", "key", "key_file", "server_name")
_WEAKER = ("TLS10", "TLS11", "TLS12")
"""Lowest versions that are as strict as the one that is always required, or less."""

Tell = Callable[[Section, str, str], None]
"""Called with a section, one of its fields and a sentence."""


def auth_of(section: Section, folder: Path, leave_out: Tell, tell: Tell) -> Auth | None:
    """Return the credentials and TLS settings of a section, None without any. Does not read the secrets' files.

    `leave_out` gets what cannot be done and must not be ignored, `tell` what works and should be another way. Raises
    RuleError for what Prometheus refuses.
    """
    _check_together(section)
    for name in ("http_headers", "proxy_connect_header"):
        if section.at(name):
            leave_out(section, name, "is not supported")
    if not section.flag("follow_redirects", True):
        tell(section, "follow_redirects", "is not taken over: redirects on the same server are followed, no others")
    parts = {**_tls(section, folder, leave_out, tell), **_credentials(section, folder, leave_out, tell)}
    if proxy := _proxy(section, leave_out, tell):
        parts["proxy"] = proxy
    if issuer := section.at("oauth2"):
        parts["oauth2"] = _issuer(Section(issuer, f"{section.path}.oauth2", _OAUTH2), folder, leave_out, tell)
    return auth_with(parts)


def _check_together(section: Section) -> None:
    kinds = [n for n in ("basic_auth", "authorization", "oauth2") if section.at(n)]
    kinds += [n for n in ("bearer_token", "bearer_token_file") if section.text(n)]
    if len(kinds) > 1:
        raise section.error(f"{' and '.join(kinds)} cannot both be given", kinds[-1])
    if section.flag("proxy_from_environment") and section.text("proxy_url"):
        raise section.error("cannot be given beside proxy_url", "proxy_from_environment")
    if section.text("no_proxy") and not section.text("proxy_url"):
        raise section.error("needs proxy_url", "no_proxy")


def _proxy(section: Section, leave_out: Tell, tell: Tell) -> Proxy | None:
    if section.flag("proxy_from_environment"):
        return Proxy(from_environment=True)
    url = section.text("proxy_url")
    if not url:
        return None
    if url.partition("://")[0] not in ("http", "https"):
        leave_out(section, "proxy_url", "is not supported as it is: expected an http:// or https:// address")
        return None
    check_url(section, "proxy_url")
    if urlsplit(url).password:
        tell(section, "proxy_url", "holds a password, which is used; proxy_from_environment keeps it out")
    return Proxy(url, section.text("no_proxy"))


def _credentials(section: Section, folder: Path, leave_out: Tell, tell: Tell) -> dict[str, object]:
    basic = Section(section.at("basic_auth"), f"{section.path}.basic_auth", _BASIC)
    header = Section(section.at("authorization"), f"{section.path}.authorization", _HEADER)
    _one_of(basic, "username", "username_file", "username_ref")
    _one_of(basic, "password", "password_file", "password_ref")
    _one_of(header, "credentials", "credentials_file", "credentials_ref")
    for part, names in ((basic, ("username_file", "username_ref", "password_ref")), (header, ("credentials_ref",))):
        for name in names:
            if part.text(name):
                leave_out(part, name, "is not supported")
    if basic.place:
        return {"username": basic.text("username"), **_secret(basic, "password", folder, tell)}
    if header.place:
        scheme = header.text("type").strip() or "Bearer"
        if scheme.lower() == "basic":
            raise header.error("expected another type than basic; use basic_auth", "type")
        found = _secret(header, "credentials", folder, tell)
        return {"scheme": scheme, **found} if found else {}
    return _secret(section, "bearer_token", folder, tell)


def _issuer(section: Section, folder: Path, leave_out: Tell, tell: Tell) -> ClientCredentials:
    for name in ("client_id", "token_url"):
        if not section.text(name):
            raise section.error(f"needs {name}")
    check_url(section, "token_url")
    if urlsplit(section.text("token_url")).username:
        leave_out(section, "token_url", "is not supported with a user")
    _one_of(section, "client_secret", "client_secret_file", "client_secret_ref")
    for name in section.names():
        usual = name == "grant_type" and section.text(name) == "client_credentials"
        if name not in _OAUTH2_TAKEN and not usual:
            leave_out(section, name, "is not supported")
    if not any(section.text(name) for name in ("client_secret", "client_secret_file")):
        leave_out(section, "client_id", "has no secret; add client_secret_file")
    secret = {**_tls(section, folder, leave_out, tell), **_secret(section, "client_secret", folder, tell)}
    secret["proxy"] = _proxy(section, leave_out, tell)
    place = section.at("endpoint_params")
    params = tuple(sorted((name, value.text()) for name, value in place.fields().items())) if place else ()
    return ClientCredentials(
        section.text("token_url"),
        section.text("client_id"),
        Auth(**secret),  # type: ignore[arg-type]  # the functions name only its fields
        section.texts("scopes"),
        params,
    )


def _secret(section: Section, name: str, folder: Path, tell: Tell) -> dict[str, object]:
    if path := section.text(f"{name}_file"):
        return {"password_file" if name == "password" else "credentials_file": str(folder / path)}
    if value := section.text(name):
        tell(section, name, f"is a secret in this file, and is used; {name}_file keeps it out")
        return {"inline": value}
    return {}


def _tls(section: Section, folder: Path, leave_out: Tell, tell: Tell) -> dict[str, object]:
    tls = Section(section.at("tls_config"), f"{section.path}.tls_config", TLS)
    for name in ("ca", "cert", "key"):
        _one_of(tls, name, f"{name}_file", f"{name}_ref")
    for name in tls.names():
        if name in _TAKEN or not tls.text(name):
            continue
        if not (name == "min_version" and tls.text(name) in _WEAKER):
            leave_out(tls, name, "is not supported")
    has_cert, has_key = (any(tls.text(f"{name}{kind}") for kind in ("", "_file", "_ref")) for name in ("cert", "key"))
    if has_cert != has_key:
        given = next(name for name in tls.names() if name.startswith("cert" if has_cert else "key"))
        raise tls.error("needs the certificate and its key, not one of them alone", given)
    files = {name: tls.text(name) for name in ("ca_file", "cert_file", "key_file")}
    found: dict[str, object] = {name: str(folder / path) for name, path in files.items() if path}
    found |= {name: tls.text(name) for name in ("ca", "cert", "key") if tls.text(name)}
    if "key" in found:
        tell(tls, "key", "is a secret in this file, and is used; key_file keeps it out")
    if name := tls.text("server_name"):
        try:
            found["server_name"] = host_name(name)
        except ValueError as error:
            leave_out(tls, "server_name", f"is not supported as it is ({error})")
    if tls.flag("insecure_skip_verify"):
        found["insecure_skip_verify"] = True
    return found


def _one_of(section: Section, *names: str) -> None:
    given = [name for name in names if section.text(name)]
    if len(given) > 1:
        raise section.error(f"{' and '.join(given)} cannot both be given", given[-1])
