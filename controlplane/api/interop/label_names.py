"""Label names in a path: UTF-8 names travel escaped there, as `U__http_2e_method` for `http.method`."""

from __future__ import annotations

import re

PREFIX = "U__"

_ESCAPED = re.compile(r"(?:[^_]|__|_[0-9a-fA-F]{1,5}_)*")
_ESCAPE = re.compile(r"__|_([0-9a-fA-F]{1,5})_")


def unescape(name: str) -> str:
    """Return the name that an escaped one stands for; what is not escaped, or not well, is returned as it is.

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
