"""MicroTime: the fields of a Lease that need exactly six digits of a second."""

import re
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

FIELDS = ("acquireTime", "renewTime")
_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def problem(spec: Json) -> str:
    """Return what is wrong with a time of a lease's spec, as Go says it, or ""."""
    for name in FIELDS:
        text = spec.get(name)
        if text is not None and not _FORM.fullmatch(text):
            rest = text[19:]
            return f'parsing time "{text}" as "{_LAYOUT}": cannot parse "{rest}" as ".000000"'
    return ""


def in_utc(spec: Json) -> Json:
    """Return the spec with its times in UTC."""
    found = {name: datetime.fromisoformat(spec[name]).astimezone(UTC) for name in FIELDS if spec.get(name)}
    return spec | {name: time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name, time in found.items()}
