"""The guards of a request's head: what a parser accepts and a proxy must not pass on.

Two servers that read one head differently can be made to see different requests in it ("request smuggling"). So a head
that allows two readings is refused here, also where llhttp is content.
"""

from __future__ import annotations

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Fields, RequestHead

MAX_FIELDS = 128
"""Most header fields of a request. Browsers and SDKs send up to some 30."""


def malformed(message: str) -> Refusal:
    """Return the refusal of a request that is no proper HTTP."""
    return Refusal(RefusalKind.MALFORMED, message, code="bad_request")


def read_head(method: bytes, target: bytes, fields: Fields, version: str, keep_alive: bool) -> RequestHead | Refusal:
    """Return the guarded head. `fields` have lower-case names; `version` is `1.0` or `1.1`."""
    if version not in ("1.1", "1.0"):
        return malformed(f"The request is of HTTP/{version}; this server speaks HTTP/1.1 and HTTP/1.0")
    known = dict(reversed(fields))
    if len(known) != len(fields) and (refusal := _repeated(fields)):
        return refusal
    if b"host" not in known and version == "1.1":
        return malformed("The request has no Host header field, which HTTP/1.1 requires")
    if target[:1] != b"/":
        path = _origin_form(target)
        if path is None:
            return malformed("The request's target is no path: send one that begins with /")
        target = path
    if b"#" in target:
        return malformed("The request's target has a fragment (#), which is never sent to a server")
    length: int | None = None
    chunked = False
    if coding := known.get(b"transfer-encoding"):
        if coding.lower() != b"chunked" or version == "1.0":
            return malformed("The request's Transfer-Encoding is not `chunked`, the only one that this server reads")
        if b"content-length" in known:
            return malformed("The request has both Content-Length and Transfer-Encoding")
        chunked = True
    elif (digits := known.get(b"content-length")) is not None:
        if not digits.isdigit() or len(digits) > 18:
            return malformed("The request's Content-Length is no number of bytes")
        length = int(digits)
    path, _, _ = target.partition(b"?")
    return RequestHead(method, target, path, fields, length, chunked, keep_alive, known, 1 if version == "1.1" else 0)


def with_fields(head: RequestHead, fields: Fields, length: int) -> RequestHead:
    """Return the same head with other values of some fields. The facts that are known of it stay."""
    return RequestHead(
        head.method,
        head.target,
        head.path,
        fields,
        length,
        head.chunked,
        head.keep_alive,
        dict(reversed(fields)),
        head.minor,
        head.facts,
    )


ONCE = {
    b"host": "Host",
    b"transfer-encoding": "Transfer-Encoding",
    b"content-length": "Content-Length",
    b"content-type": "Content-Type",
    b"content-encoding": "Content-Encoding",
}
"""Fields that say where a request goes and ends, and how its body is read. Two of one of them are two readings."""


def _repeated(fields: Fields) -> Refusal | None:
    seen: set[bytes] = set()
    for name, _ in fields:
        if name in ONCE:
            if name in seen:
                return malformed(f"The request has two {ONCE[name]} header fields")
            seen.add(name)
    return None


def _origin_form(target: bytes) -> bytes | None:
    """Return path and query of an absolute target, as clients of a proxy send it, or None."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None
    ends = [at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0]
    start = min(ends, default=len(rest))
    if not rest[:start]:
        return None
    path = rest[start:]
    return path if path[:1] == b"/" else b"/" + path
