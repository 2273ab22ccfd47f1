"""Identities at Google: the key of a service account, the service account of this host or pod, an external account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collectors.clouds.google.external import ExternalAccountTokens
from collectors.clouds.google.key_file import EXTERNAL, SERVICE_ACCOUNT
from collectors.clouds.google.metadata import MetadataTokens
from collectors.clouds.google.token import ServiceAccountTokens
from collectors.clouds.json_api import JsonApi
from collectors.clouds.kept import Kept

METADATA = "metadata_server"


@dataclass(frozen=True)
class GoogleIdentity:
    """Kind of who asks Google, and the file that this needs."""

    kind: str = SERVICE_ACCOUNT
    file: str = ""


def tokens_of(identity: GoogleIdentity, api: JsonApi, wall: Callable[[], float], scopes: Sequence[str]) -> Kept[str]:
    """Return the tokens of an identity. `api` has the TLS settings for Google's APIs."""
    if identity.kind == METADATA:
        return MetadataTokens(scopes, wall)
    if identity.kind == EXTERNAL:
        return ExternalAccountTokens(identity.file, api, wall, scopes)
    return ServiceAccountTokens(identity.file, api, wall, scopes)
