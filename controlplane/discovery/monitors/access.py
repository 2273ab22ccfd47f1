"""Credentials and TLS settings of a monitor's endpoint. Pure; secrets come with the monitors, and are never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from collectors.clouds.client_credentials import ClientCredentials
from collectors.target import Auth, Proxy, auth_with
from controlplane.config.vocabulary import host_name
from controlplane.discovery.monitors.fields import Fields

FIELDS = (
    "authorization", "basicAuth", "bearerTokenFile", "bearerTokenSecret", "enableHttp2", "followRedirects", "noProxy",
    "oauth2", "proxyConnectHeader", "proxyFromEnvironment", "proxyUrl", "tlsConfig",
)  # fmt: skip
"""Fields of an endpoint that this module reads."""
_FILES = ("caFile", "certFile", "keyFile")
_WEAKER = ("TLS10", "TLS11", "TLS12")
"""Lowest versions that are as strict as the one that is always required, or less."""
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_OWN_FILE = "names a file of this process, which a monitor may not read; use a Secret"


class Secret(Protocol):
    """Reads the values that an object's references name."""

    def __call__(self, of: Fields, field: str, *, of_map: bool = False) -> str:
        """Return the value of the key of a Secret, or of a ConfigMap. Raises FieldError where it is not known."""
        ...


Tell = Callable[[str], None]


def auth_of(endpoint: Fields, secret: Secret, tell: Tell) -> Auth | None:
    """Return the credentials and TLS settings, None without any. `tell` gets a sentence about what has no effect.

    Raises FieldError for what cannot be done and must not be ignored.
    """
    proxy = _proxy(endpoint)
    if endpoint.text("bearerTokenFile"):
        raise endpoint.error("bearerTokenFile", _OWN_FILE)
    if not endpoint.flag("followRedirects", True):
        tell(f"{endpoint.at('followRedirects')} has no effect: redirects on the same server are followed, no others")
    parts = {**_tls(endpoint.fields("tlsConfig"), secret), **_credentials(endpoint, secret)}
    if proxy:
        parts["proxy"] = proxy
    return auth_with(parts)


def _proxy(of: Fields) -> Proxy | None:
    if of.fields("proxyConnectHeader"):
        raise of.error("proxyConnectHeader", "is not supported")
    if of.flag("proxyFromEnvironment", False):
        raise of.error("proxyFromEnvironment", "is not supported: the environment of this process is its owner's")
    return Proxy(http_url(of, "proxyUrl"), of.text("noProxy")) if of.text("proxyUrl") else None


def _credentials(endpoint: Fields, secret: Secret) -> dict[str, object]:
    kinds = ("basicAuth", "authorization", "bearerTokenSecret", "oauth2")
    basic, header, token, issuer = (endpoint.fields(name) for name in kinds)
    # Objects of older releases have an empty reference where none is meant.
    given = [part for part in (basic, header, token, issuer) if part and (part is not token or token.text("name"))]
    if len(given) > 1:
        raise endpoint.error("", f"{given[0].path.rpartition('.')[2]} and {given[1].path.rpartition('.')[2]} cannot"
                                 " both be given")  # fmt: skip
    if not given:
        return {}
    if given[0] is basic:
        return {"username": secret(basic, "username"), "inline": secret(basic, "password")}
    if given[0] is token:
        return {"inline": secret(endpoint, "bearerTokenSecret")}
    if given[0] is issuer:
        return {"oauth2": _issuer(issuer, secret)}
    scheme = header.text("type").strip() or "Bearer"
    if scheme.lower() == "basic":
        raise header.error("type", "expected another type than basic; use basicAuth")
    return {"scheme": scheme, "inline": secret(header, "credentials")} if header.fields("credentials") else {}


def _issuer(of: Fields, secret: Secret) -> ClientCredentials:
    proxy = _proxy(of)
    url, client = http_url(of, "tokenUrl"), of.fields("clientId")
    given = [name for name in ("secret", "configMap") if client.fields(name)]
    if len(given) != 1:
        raise of.error("clientId", "needs one of secret and configMap")
    params = of.fields("endpointParams")
    return ClientCredentials(
        url,
        secret(client, given[0], of_map=given[0] == "configMap"),
        Auth(inline=secret(of, "clientSecret"), proxy=proxy, **_tls(of.fields("tlsConfig"), secret)),  # type: ignore[arg-type]
        of.texts("scopes"),
        tuple(sorted((name, params.text(name)) for name in params.names())),
    )


def http_url(of: Fields, name: str) -> str:
    """Return the address in a field. Raises FieldError for another one than `is_http` takes."""
    url = of.text(name)
    if not is_http(url):
        raise of.error(name, "expected an address that begins with http:// or https://, has a host and no user")
    return url


def is_http(url: str) -> bool:
    """Return whether a text is an address of HTTP with a host and without a user."""
    try:
        parts = urlsplit(url)
        return bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username)
    except ValueError:
        return False


def _tls(tls: Fields, secret: Secret) -> dict[str, object]:
    for name in _FILES:
        if tls.text(name):
            raise tls.error(name, _OWN_FILE)
    if tls.text("minVersion") not in ("", *_WEAKER):
        raise tls.error("minVersion", "is not supported above TLS12")
    if tls.text("maxVersion") not in ("", "TLS13"):
        raise tls.error("maxVersion", "is not supported")
    found: dict[str, object] = {"insecure_skip_verify": True} if tls.flag("insecureSkipVerify", False) else {}
    if name := tls.text("serverName").strip():
        try:
            found["server_name"] = host_name(name)
        except ValueError as error:
            raise tls.error("serverName", str(error)) from error
    return found | _certificate(tls, "ca", secret) | _own(tls, secret)


def _own(tls: Fields, secret: Secret) -> dict[str, object]:
    """Return the certificate that is shown, and its key."""
    cert, has_key = _certificate(tls, "cert", secret), bool(tls.fields("keySecret").text("name"))
    if bool(cert) != has_key:
        raise tls.error("cert" if cert else "keySecret", "needs the certificate (cert) and its key (keySecret)")
    return cert | {"key": secret(tls, "keySecret")} if cert else {}


def _certificate(tls: Fields, name: str, secret: Secret) -> dict[str, object]:
    of = tls.fields(name)
    given = [kind for kind in ("secret", "configMap") if of.fields(kind)]
    if len(given) > 1:
        raise tls.error(name, "secret and configMap cannot both be given")
    if not given:
        return {}
    found = secret(of, given[0], of_map=given[0] == "configMap")
    if found and _CERTIFICATE not in found:
        raise of.error(given[0], f"expected a certificate in PEM, which begins with {_CERTIFICATE}")
    return {name: found}
