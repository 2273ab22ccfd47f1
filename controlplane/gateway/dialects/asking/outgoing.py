"""The request for a backend: the engine's name of the model in place of the client's, and a wish for usage in a stream.

Nothing else of a body changes, byte for byte.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

import orjson

from controlplane.gateway.desired.document import BackendSpec
from controlplane.gateway.dialects import json_scan, triton_path
from controlplane.gateway.dialects.asking import form
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.request import Ask, ModelPlace, RequestHead

_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("(?:[^"\\]|\\.)*")')
_ESCAPED_MODEL = b"\\u006"
"""Begin of each escape that can spell a letter of `model`. Encoders never escape letters, so it is rare."""
_USAGE = b'"include_usage":true'

Edit = tuple[int, int, bytes]
"""`body[start:end]` becomes the bytes."""


def outgoing(ask: Ask, head: RequestHead, body: bytes, backend: BackendSpec) -> tuple[bytes, bytes]:
    """Return (target, body) of a request for a backend. The target begins with the path of the backend's URL.

    A model that is an adapter on the backend keeps its name: it is the adapter's name there.
    """
    path, place = head.path, ask.operation.place
    served = ask.model if ask.model in backend.adapters else backend.served_model
    if place is ModelPlace.PATH:
        asked = triton_path.split(path)
        assert asked is not None, "recognise() saw a model in the path"
        path = triton_path.join(asked._replace(model=served, version=backend.path_version))
    elif place is ModelPlace.BODY:
        body = with_model_and_usage(ask, head, body, served)
    elif place is ModelPlace.HEADER and json_scan.begins_object(body):
        body = _plain_with_model(body, served)
    elif place is ModelPlace.FORM and served != ask.model:
        body = _form_with_model(head, body, served)
    return prefix_of(backend.url) + path + head.target[len(head.path) :], body


def with_model_and_usage(ask: Ask, head: RequestHead, body: bytes, served: str) -> bytes:
    """Return a JSON body that names the served model, and asks for usage when a stream's client did not."""
    edits: list[Edit] = []
    if served != ask.model or _may_repeat(body):
        edits += _model_edits(ask, head, body, orjson.dumps(served))
    if asks_for_usage(ask):
        edits += _usage_edits(body)
    return _edited(body, edits) if edits else body


def asks_for_usage(ask: Ask) -> bool:
    """Return whether the gateway asks for a usage event that the client did not ask for."""
    name = ask.operation.name
    return ask.stream and not ask.wants_usage and name in ("chat", "completion") and ask.operation.dialect == "openai"


@lru_cache(maxsize=4096)
def prefix_of(url: str) -> bytes:
    """Return the path of a backend's URL without a slash at its end."""
    return urlsplit(url).path.rstrip("/").encode()


def _may_repeat(body: bytes) -> bool:
    """Return whether a second `model` may be in a body. The first one might be the engine's choice, and no caller may
    choose a model that was not checked."""
    return body.count(b'"model"') > 1 or _ESCAPED_MODEL in body


def _model_edits(ask: Ask, head: RequestHead, body: bytes, served: bytes) -> list[Edit]:
    """Return the edits of every member `model`: an engine that takes the first of two gets the same name."""
    at = body.find(b'"model"')
    if body.find(b'"model"', at + 1) < 0 <= at and _ESCAPED_MODEL not in body and not head.get(b"x-model"):
        # The one place is the member that read() found: no other text spells its name.
        place = _MODEL.match(body, at)
        if place is not None:
            return [(place.start(1), place.end(1), served)]
    return [(start, end, served) for name, start, end in json_scan.members(body) if name == "model"]


def _usage_edits(body: bytes) -> list[Edit]:
    if b'"stream_options"' in body:
        for member in reversed(json_scan.members(body)):
            if member.name == "stream_options":
                return [_usage_edit(body, member)]
    at = body.index(b"{") + 1
    return [(at, at, b'"stream_options":{' + _USAGE + b"},")]


def _usage_edit(body: bytes, member: json_scan.Member) -> Edit:
    options = json_scan.value(body, member)
    if not isinstance(options, dict):
        return member.start, member.end, b"{" + _USAGE + b"}"
    if "include_usage" in options:
        return member.start, member.end, orjson.dumps({**options, "include_usage": True})
    return member.start + 1, member.start + 1, _USAGE + (b"," if options else b"")


def _plain_with_model(body: bytes, served: str) -> bytes:
    """Return a body of an engine's own API. The model that it names is the chosen one, whatever the client wrote."""
    try:
        found = json_scan.members(body)
    except Unreadable:
        return body
    name = orjson.dumps(served)
    return _edited(body, [(member.start, member.end, name) for member in found if member.name == "model"])


def _form_with_model(head: RequestHead, body: bytes, served: str) -> bytes:
    parts = form.parts(body, head.get(b"content-type"))
    return _edited(body, [(part.start, part.end, served.encode()) for part in parts if part.name == b"model"])


def _edited(body: bytes, edits: list[Edit]) -> bytes:
    pieces, at = [], 0
    for start, end, new in sorted(edits):
        pieces += [body[at:start], new]
        at = end
    return b"".join([*pieces, body[at:]])
