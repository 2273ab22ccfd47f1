"""Label names in a URL path. UTF-8 names are escaped there: `http.method` is `U__http_2e_method`."""

from __future__ import annotations

import re

PREFIX = "U__"

_ESCAPED = re.compile(r"(?:[^_]|__|_[0-9a-fA-F]{1,5}_)*")
_ESCAPE = re.compile(r"__|_([0-9a-fA-F]{1,5})_")


def unescape(name: str) -> str:
    """Return a label name unescaped: `U__http_2e_method` → `http.method`. A name without a valid escape stays as it is.

    Prometheus's value encoding (prometheus/common, model.UnescapeName): `__` is an underscore, `_2e_` a code point.
    """
    if not name.startswith(PREFIX):
        return name
    escaped = name.removeprefix(PREFIX)
    if not _ESCAPED.fullmatch(escaped):
        return name
    if any(0xD800 <= int(code, 16) <= 0xDFFF for code in _ESCAPE.findall(escaped) if code):
        return name
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "_", escaped)
