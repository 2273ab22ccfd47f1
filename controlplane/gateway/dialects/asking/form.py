"""Fields of a multipart form (RFC 7578). Files are skipped, not copied."""

from __future__ import annotations

import re
from typing import NamedTuple

from controlplane.gateway.dialects.errors import Unreadable

MAX_PARTS = 128
"""Most parts of a form. Chosen: the audio API has 10 fields, some of them repeated."""
MAX_PART_HEAD = 8 * 2**10
"""Bytes of the longest head of a part. Chosen: as a request's head in common servers."""
MAX_FIELD = 4 * 2**10
"""Bytes of the longest field that is read. Chosen: names of models and flags are shorter."""
_BOUNDARY = re.compile(rb'(?i)^multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))')
_DISPOSITION = re.compile(rb"(?i)content-disposition\s*:")
_PARAMETER = rb'\s*;\s*([^\s;="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))'
_WHOLE = re.compile(rb"(?i)content-disposition\s*:\s*form-data((?:" + _PARAMETER + rb")*)[\s;]*")
_EACH = re.compile(_PARAMETER)


class Part(NamedTuple):
    """One field of a form. `body[start:end]` is its content."""

    name: bytes
    start: int
    end: int
    is_file: bool


def parts(body: bytes, content_type: bytes) -> list[Part]:
    """Return the parts of a form in their order.

    Raises Unreadable when the content type names no boundary, when the form does not end, when it has more than
    MAX_PARTS parts, or when a part has no name or a head of more than MAX_PART_HEAD bytes.
    """
    matched = _BOUNDARY.match(content_type)
    if matched is None:
        raise Unreadable("the content type is no multipart/form-data with a boundary")
    if content_type.lower().count(b"boundary=") > 1:
        raise Unreadable("the content type has two boundaries")
    line = b"--" + (matched[1] or matched[2])
    if not body.startswith(line):
        raise Unreadable("the form does not begin with its boundary")
    found: list[Part] = []
    at = len(line)
    while body[at : at + 2] == b"\r\n":
        if len(found) == MAX_PARTS:
            raise Unreadable(f"the form has more than {MAX_PARTS} parts")
        head_end = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        end = body.find(b"\r\n" + line, head_end + 2)
        if head_end < 0 or end < 0:
            raise Unreadable("the form does not end")
        found.append(_part(body[at:head_end], min(head_end + 4, end), end))
        at = end + 2 + len(line)
    if body[at : at + 2] != b"--":
        raise Unreadable("the form does not end")
    return found


def field(body: bytes, found: list[Part], name: bytes) -> str:
    """Return the text of a field, or "" when the form does not have it.

    Raises Unreadable when the field is there twice, is longer than MAX_FIELD bytes, or is not UTF-8.
    """
    named = [part for part in found if part.name == name]
    if not named:
        return ""
    if len(named) > 1:
        raise Unreadable(f"the form has the field {name.decode()} twice")
    if named[0].end - named[0].start > MAX_FIELD:
        raise Unreadable(f"the form's field {name.decode()} is longer than {MAX_FIELD} bytes")
    try:
        return body[named[0].start : named[0].end].decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"the form's field {name.decode()} is not UTF-8") from error


def _part(head: bytes, start: int, end: int) -> Part:
    """Return a part. Its name must be one to every reader: another one could be the engine's model."""
    lines = [line for line in head.split(b"\r\n") if _DISPOSITION.match(line)]
    matched = _WHOLE.fullmatch(lines[0]) if len(lines) == 1 else None
    if matched is None:
        raise Unreadable("a part of the form has no name, several Content-Disposition lines, or a malformed one")
    given = [(key.lower(), quoted or plain) for key, quoted, plain in _EACH.findall(matched[1])]
    names = [value for key, value in given if key in (b"name", b"name*")]
    if len(names) != 1:
        raise Unreadable(f"a part of the form has {'several names' if names else 'no name'}")
    return Part(names[0], start, end, any(key in (b"filename", b"filename*") for key, _ in given))
