"""Removes dcgm-exporter's blank values: numbers that stand for "no value"."""

from __future__ import annotations

import re

from collectors.target import Source

# DCGM's blank values (dcgm_structs.h): BLANK, NOT_FOUND, NOT_SUPPORTED and NOT_PERMISSIONED, for a 64-bit integer
# (printed as an integer or converted to a float) and for a double. Old exporters print them.
_BLANK = re.compile(
    rb"^(?:DCGM|dcgm)_[^\n]*[ \t](?:922337203685477579[2-5](?:\.0+)?|9\.22337203685477\d*e\+18"
    rb"|14073748835532[89]\.0+|14073748835533[01]\.0+)"
    rb"(?:[ \t][^\n]*)?(?:\n|\Z)",
    re.MULTILINE,
)
_HINTS = (b"922337203685477579", b"9.22337203685477", b"1407374883553")


def without_blanks(body: bytes) -> bytes:
    """Return the exposition without samples that have a blank value: absent is not 9.2e18 MiB."""
    if not any(hint in body for hint in _HINTS):
        return body
    return _BLANK.sub(b"", body)


class DcgmSource:
    """Source of dcgm-exporter's metrics without blank values."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner

    async def read(self, timeout_s: float) -> bytes:
        """Return the inner source's body without blank values. Raises the errors of the inner source."""
        return without_blanks(await self._inner.read(timeout_s))

    async def close(self) -> None:
        """Close the inner source."""
        await self._inner.close()
