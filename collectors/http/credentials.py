"""Reads the secrets for a target at each use, so that a rotated file or variable takes effect at once."""

from __future__ import annotations

import base64
import os

from collectors.errors import ScrapeError
from collectors.regular_file import read_regular
from collectors.target import Auth

MAX_SECRET_BYTES = 64 * 1024
"""Number of bytes that are read of a file with a secret. The rest is ignored."""


def authorization(auth: Auth) -> str | None:
    """Return the value of the Authorization header, or None without credentials. Reads the secrets now.

    Raises ScrapeError, which names the file or variable but never its content.
    """
    if auth.username is not None:
        password = _secret_file(auth.password_file) if auth.password_file else auth.inline
        return basic(auth.username, password)
    if not auth.scheme.isprintable():
        raise ScrapeError("the type of authorization holds a line break or another control character")
    if auth.credentials_file:
        return f"{auth.scheme} {_secret_file(auth.credentials_file)}"
    if auth.inline:
        return f"{auth.scheme} {_checked_secret(auth.inline, 'the secret in the configuration')}"
    if auth.credentials_env:
        name = auth.credentials_env
        return f"{auth.scheme} {_checked_secret(os.environ.get(name, ''), f'the environment variable {name}')}"
    return None


def basic(username: str, password: str) -> str:
    """Return the value of the Authorization header for HTTP basic authentication."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _secret_file(path: str) -> str:
    try:
        content = read_regular(path, MAX_SECRET_BYTES)
        return _checked_secret(content.decode(), f"the credentials file {path}")
    except OSError as error:
        raise ScrapeError(f"cannot read the credentials file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ScrapeError(f"the credentials file {path} is not UTF-8 text") from None


def _checked_secret(text: str, place: str) -> str:
    secret = text.strip()
    if not secret:
        raise ScrapeError(f"{place} is not set or empty")
    if not secret.isprintable():
        raise ScrapeError(f"{place} holds a line break or another control character")
    return secret


def authorized(authorization: str) -> dict[str, str]:
    """Return the headers of a request with credentials as they are; none without credentials."""
    return {"Authorization": authorization} if authorization else {}


def keyed(header: str, authorization: str) -> dict[str, str]:
    """Return the headers of an API that reads its key from `header`; none without a bearer token."""
    scheme, _, key = authorization.partition(" ")
    return {header: key} if scheme == "Bearer" and key else {}
