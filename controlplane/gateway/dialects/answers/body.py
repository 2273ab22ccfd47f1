"""Reads an answer that is one body: JSON, audio or tensors."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.answers import faults, framing, usage
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.estimate import BYTES_A_TOKEN
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, TokenCounts

MOST_KEPT = 256 * 2**10
"""Bytes of a JSON body that are kept until its end. Of a longer one only the end is kept, where engines put usage."""
END_KEPT = 16 * 2**10
"""Bytes of the end of a long body that are kept."""
LONGEST_ERROR = 64 * 2**10
"""Bytes of the longest body under status 200 that is looked at whole, because it begins as an error."""
_ERROR = re.compile(rb'\s*\{\s*"(?:error"\s*:\s*[{"]|object"\s*:\s*"error"|type"\s*:\s*"error")')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')
_ANY_TEXT = frozenset(("plain", "transcription", "translation", "speech"))
"""Operations whose answers may be any text or sound."""
_BEGINS, _ENDS = (b"{", b"["), (b"}", b"]")
NO_JSON = "The engine's answer is no complete JSON"
_ABORT = re.compile(rb'"finish_reason"\s*:\s*"abort"')
"""Raw quotes: text of an answer, whose quotes are escaped, never looks like one."""


class _Answer(msgspec.Struct):
    """The members of a whole answer that tell of tokens and errors. The decoder makes no values of the others."""

    usage: Any = None
    error: Any = None
    error_code: Any = None
    object: Any = None
    type: Any = None
    code: Any = None
    message: Any = None
    text: Any = None
    detail: Any = None
    meta_info: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


class BodyReader:
    """An AnswerReader of one body. The client gets it as it comes."""

    __slots__ = (
        "_ask", "_kept", "_page", "_passed", "_read", "_seen", "_size", "_status", "_strict", "events", "fault",
        "whole",
    )  # fmt: skip

    def __init__(self, ask: Ask, status: int, *, is_json: bool, is_page: bool = False) -> None:
        """`is_page`: it is a page for people, which no API answers with: that of a proxy, or of another server."""
        self._ask, self._status, self._read, self._page = ask, status, is_json, is_page
        operation = ask.operation
        self._strict = is_json and status == 200 and operation.generates and operation.name not in _ANY_TEXT
        """Whether the answer must be an object or an array."""
        self._kept: list[bytes] = []
        self._size = self._passed = 0
        """Bytes in `_kept`, and of the body so far."""
        self._seen = TokenCounts()
        """Tokens that the engine reported."""
        self.events = 0
        self.fault = ""
        self.whole = False

    @property
    def counts(self) -> TokenCounts:
        """Tokens of the answer. Without a report of the engine, they are estimated from the length of JSON, and unknown
        for other bodies. An error status has none."""
        if self._status >= 400:
            return TokenCounts(0, 0)
        return usage.completed(self._seen, self._ask, self._passed // BYTES_A_TOKEN if self._read else None)

    def first(self, data: bytes) -> Refusal | bool:
        """Return True, or what a body that begins as an error should have been when it is complete."""
        if self._page and self._status < 400:
            return Refusal(
                RefusalKind.UPSTREAM_FAILED, "The engine answered with a page (text/html)", code="engine_error"
            )
        if self._strict and (begin := data.lstrip()[:1]) not in _BEGINS:
            return Refusal(RefusalKind.UPSTREAM_FAILED, NO_JSON, code="engine_error") if begin else False
        if not self._read or self._status != 200 or len(data) > LONGEST_ERROR or not _ERROR.match(data):
            return True
        document = framing.parse(data)
        if document is None:
            return False
        fault = faults.find(document)
        return True if fault is None else faults.refusal(fault)

    def feed(self, data: bytes) -> bytes:
        """Keep a piece of the body for its end."""
        self._passed += len(data)
        if self._read:
            self._kept.append(data)
            self._size += len(data)
            if self._size > MOST_KEPT:
                self._kept = [b"".join(self._kept)[-END_KEPT:]]
                self._size = len(self._kept[0])
        return data

    def end(self) -> bytes:
        """Read the usage, or the error, of the complete body."""
        self.whole = True
        body = b"".join(self._kept)
        self._kept = []
        document = _outline(body) if self._read and len(body) == self._passed else None
        if self._status >= 400:
            self.fault = faults.of_status(document, self._status)
            return b""
        if document is not None:
            usage.of_document(document, self._seen)
            fault = faults.find(document)
            self.fault = "" if fault is None else fault.message
        elif found := _USAGE.findall(body):
            usage.of_document({"usage": framing.parse(found[-1])}, self._seen)
        if b'"abort"' in body and _ABORT.search(body):
            self.fault = faults.ABORTED
        if self._strict and not self.fault and not (document or self._is_complete(body)):
            self.fault = NO_JSON
        return b""

    def _is_complete(self, body: bytes) -> bool:
        """Return whether a body that no parser took ends as JSON does. Of a long one only the end is there."""
        if len(body) == self._passed and json_scan.begins_object(body):
            try:
                json_scan.members(body)
            except Unreadable:
                return False
        return body.rstrip()[-1:] in _ENDS


def _outline(body: bytes) -> dict[str, object] | None:
    """Return the members of an answer that tell of tokens and errors, or None when it is no JSON object.

    A member that the answer lacks is None.
    """
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return framing.parse(body)
    return msgspec.structs.asdict(answer)
