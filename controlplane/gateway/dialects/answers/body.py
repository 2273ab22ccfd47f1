"""Reads an answer that is one body: JSON, audio or tensors."""

from __future__ import annotations

import re

from controlplane.gateway.dialects.answers import faults, framing, usage
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import TokenCounts

MOST_KEPT = 256 * 2**10
"""Bytes of a JSON body that are kept until its end. Of a longer one only the end is kept, where engines put usage."""
END_KEPT = 16 * 2**10
"""Bytes of the end of a long body that are kept."""
LONGEST_ERROR = 64 * 2**10
"""Bytes of the longest body under status 200 that is looked at whole, because it begins as an error."""
_ERROR = re.compile(rb'\s*\{\s*"(?:error"\s*:\s*[{"]|object"\s*:\s*"error"|type"\s*:\s*"error")')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')
_ABORT = re.compile(rb'"finish_reason"\s*:\s*"abort"')
"""Raw quotes: text of an answer, whose quotes are escaped, never looks like one."""


class BodyReader:
    """An AnswerReader of one body. The client gets it as it comes."""

    __slots__ = ("_kept", "_length", "_read", "_status", "_truncated", "counts", "events", "fault", "whole")

    def __init__(self, status: int, *, is_json: bool) -> None:
        self._status, self._read = status, is_json
        self._kept: list[bytes] = []
        self._length = 0
        self._truncated = False
        self.counts = TokenCounts()
        self.events = 0
        self.fault = ""
        self.whole = False

    def first(self, data: bytes) -> Refusal | bool:
        """Return True, or what a body that begins as an error should have been when it is complete."""
        if not self._read or self._status != 200 or len(data) > LONGEST_ERROR or not _ERROR.match(data):
            return True
        document = framing.parse(data)
        if document is None:
            return False
        fault = faults.find(document)
        return True if fault is None else faults.refusal(fault)

    def feed(self, data: bytes) -> bytes:
        """Keep a piece of the body for its end."""
        if self._read:
            self._kept.append(data)
            self._length += len(data)
            if self._length > MOST_KEPT:
                self._kept = [b"".join(self._kept)[-END_KEPT:]]
                self._length, self._truncated = len(self._kept[0]), True
        return data

    def end(self) -> bytes:
        """Read the usage, or the error, of the complete body."""
        self.whole = True
        body = b"".join(self._kept)
        self._kept = []
        document = None if self._truncated or not self._read else framing.parse(body)
        if self._status >= 400:
            self.fault = faults.of_status(document, self._status)
            return b""
        if document is not None:
            usage.of_document(document, self.counts)
            fault = faults.find(document)
            self.fault = "" if fault is None else fault.message
        elif found := _USAGE.findall(body):
            usage.of_document({"usage": framing.parse(found[-1])}, self.counts)
        if _ABORT.search(body):
            self.fault = faults.ABORTED
        return b""
