"""Credential files of Google: the key of a service account, and the description of an external account.

https://google.aip.dev/auth/4112 and https://google.aip.dev/auth/4117. Blocking: they are read at each use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from collectors.clouds.credential_text import fits
from collectors.clouds.issuing import MAX_BYTES, proof_in, safe
from collectors.errors import ScrapeError
from collectors.regular_file import read_regular

SERVICE_ACCOUNT, EXTERNAL = "service_account", "external_account"
_WANTED = {
    SERVICE_ACCOUNT: "the key of a service account: gcloud iam service-accounts keys create",
    EXTERNAL: "an external account: gcloud iam workload-identity-pools create-cred-config",
}
_INSTEAD = {
    EXTERNAL: "; set google.identity: external_account and google.credentials_file:",
    SERVICE_ACCOUNT: "; set google.identity: service_account and google.key_file:",
}


class ServiceAccount(NamedTuple):
    """The key of a service account."""

    account: str
    token_uri: str
    key_id: str
    key: RSAPrivateKey


class ExternalAccount(NamedTuple):
    """An identity of another issuer, and where its token is changed for one of Google's."""

    audience: str
    token_type: str
    token_url: str
    impersonation_url: str
    """Where the token of a service account is given for it; "": the identity itself has the roles."""
    lifetime_s: int
    token_file: str
    token_field: str
    """Field of the file's JSON that holds the token; "": the file is the token."""

    def proof(self) -> str:
        """Return the token of the other issuer. Raises ScrapeError without its content."""
        if not self.token_field:
            return proof_in(self.token_file)
        found = _object(self.token_file, "the token file").get(self.token_field)
        if not fits(found):
            raise ScrapeError(f"the token file {self.token_file} has no text {self.token_field}")
        return found


def service_account(file: str) -> ServiceAccount:
    """Return the key in a file. Raises ScrapeError, which names the file and the cure but never the content."""
    found = _of_kind(file, SERVICE_ACCOUNT)
    account, place, pem = (_text(found, name, file) for name in ("client_email", "token_uri", "private_key"))
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ScrapeError(
            f"the private_key in {file} cannot be parsed; create the key again: line breaks in it are \\n, "
            "and all of it belongs there"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise ScrapeError(f"the key in {file} is no RSA key; create another for the service account")
    return ServiceAccount(account, place, str(found.get("private_key_id", "")), key)


def external_account(file: str) -> ExternalAccount:
    """Return the description in a file. Raises ScrapeError, which names the file and the cure."""
    found = _of_kind(file, EXTERNAL)
    source = found.get("credential_source")
    token_file = source.get("file") if isinstance(source, dict) else None
    if not isinstance(source, dict) or not isinstance(token_file, str) or not token_file:
        raise ScrapeError(f"{file} has no credential_source.file; only tokens in files are read, not URLs and programs")
    form = source.get("format")
    field = ""
    if isinstance(form, dict) and form.get("type") == "json":
        field = _text(form, "subject_token_field_name", file)
    lifetime = found.get("service_account_impersonation")
    seconds = lifetime.get("token_lifetime_seconds", 3600) if isinstance(lifetime, dict) else 3600
    impersonated = found.get("service_account_impersonation_url")
    if not (isinstance(seconds, int) and 600 <= seconds <= 43_200 and isinstance(impersonated or "", str)):
        raise ScrapeError(f"service_account_impersonation in {file} is not of 600 to 43200 seconds with a URL")
    external = ExternalAccount(
        _text(found, "audience", file),
        _text(found, "subject_token_type", file),
        _text(found, "token_url", file),
        str(impersonated or ""),
        seconds,
        token_file,
        field,
    )
    for url in (external.token_url, external.impersonation_url):
        if url:
            safe(url, file)
    return external


def _of_kind(file: str, kind: str) -> Mapping[str, Any]:
    found = _object(file, "the key file", f"; it has to be {_WANTED[kind]}")
    other = found.get("type")
    if other != kind:
        is_it = f"has the type {other}" if isinstance(other, str) and other.isidentifier() else "has no type"
        cure = _INSTEAD.get(other, "") if isinstance(other, str) else ""
        raise ScrapeError(f"{file} {is_it[:80]}, not {kind}{cure or f'; it has to be {_WANTED[kind]}'}")
    return found


def _object(file: str, what: str, cure: str = "") -> Mapping[str, Any]:
    try:
        data = read_regular(file, MAX_BYTES)
    except OSError as error:
        raise ScrapeError(f"cannot read {what} {file}: {error.strerror}") from None
    if not data.strip():
        raise ScrapeError(f"{what} {file} is empty{cure}")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ScrapeError(f"{what} {file} is not JSON{cure}") from None
    if not isinstance(found, dict):
        raise ScrapeError(f"{what} {file} is no JSON object{cure}")
    return found


def _text(found: Mapping[str, Any], name: str, file: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise ScrapeError(f"{file} has no {name}; create the file again and change nothing in it")
    return value
