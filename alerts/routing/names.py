"""Names that are keys of the database: texts of any length, of which only a bounded part is kept. Pure."""

from __future__ import annotations

import hashlib

MOST_BYTES = 1000
"""Bytes of UTF-8 of a text that stays as it is. An entry of a PostgreSQL index holds 2,704 bytes. The name of a message
has two such texts (the matchers of its route, the labels of its group), the name of its notifier, and two numbers."""
_KEPT_CHARACTERS = 200
"""Characters of a longer text that are kept: 800 bytes at most."""
_MOST_BYTES_OF_ONE = 4


def short(text: str) -> str:
    """Return a text that is not too long unchanged, and of a longer one its begin and a digest of all of it."""
    if len(text) * _MOST_BYTES_OF_ONE <= MOST_BYTES:
        return text
    content = text.encode(errors="surrogatepass")  # what no database can hold is refused where it is stored
    if len(content) <= MOST_BYTES:
        return text
    return f"{text[:_KEPT_CHARACTERS]}…{hashlib.blake2b(content, digest_size=16).hexdigest()}"
