"""Keys as AWS's issuers give them: the container agents and the metadata service of instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collectors.clouds.aws.signing import Key
from collectors.clouds.credential_text import fits
from collectors.clouds.issuing import ends_at
from collectors.clouds.kept import Issued
from collectors.errors import ExpositionError


def issued(found: Mapping[str, Any], what: str) -> Issued[Key]:
    """Return the key of an answer; `what` was asked. Raises ExpositionError without the answer's content."""
    values = [found.get(name) for name in ("AccessKeyId", "SecretAccessKey", "Token")]
    if not all(map(fits, values)):
        raise ExpositionError(f"{what}: the answer has no AccessKeyId, SecretAccessKey and Token", 0)
    return Issued(Key(*map(str, values)), ends_at(found.get("Expiration"), what))
