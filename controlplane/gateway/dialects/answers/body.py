"""Reads an answer that is one body: JSON, audio or tensors."""

from __future__ import annotations

import re
from operator import attrgetter
from string import ascii_letters, digits
from typing import Any

import msgspec
import orjson

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.answers import content, faults, framing, usage
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.estimate import BYTES_A_TOKEN
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Content, TokenCounts

MOST_KEPT = 256 * 2**10
"""Bytes of a JSON body that are kept until its end. Of a longer one only the end is kept, where engines put usage."""
END_KEPT = 16 * 2**10
"""Bytes of the end of a long body that are kept."""
LONGEST_ERROR = 64 * 2**10
"""Bytes of the longest body under status 200 that is looked at whole, because it begins as an error."""
CODED_BYTES_A_TOKEN = 2
"""Bytes of a compressed body for one token of the answer. Measured with gzip on English answers of 70 to 2,800 tokens:
3.8 to 1.7."""
CODED_STREAM_BYTES_A_TOKEN = 8
"""The same of a compressed stream. Measured: 14 to 17 where each event is flushed, 4 to 7 where none is."""
_ERROR = re.compile(rb'\s*\{\s*"(?:error"\s*:\s*[{"]|object"\s*:\s*"error"|type"\s*:\s*"error")')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')
_ANY_TEXT = frozenset(("plain", "transcription", "translation", "speech"))
"""Operations whose answers may be any text or sound."""
_ENDS = {b"{": b"}", b"[": b"]"}
"""The last character of a JSON text by its first one."""
NO_JSON = "The engine's answer is no complete JSON"
_ABORT = re.compile(rb'"finish_reason"\s*:\s*"abort"')
"""Raw quotes: text of an answer, whose quotes are escaped, never looks like one."""


_FINISH = re.compile(rb'"(?:finish_reason|stop_reason|done_reason)"\s*:\s*"(\w+)"')
"""Raw quotes, as above. It is used for the end of a long body, of which nothing is parsed."""


_ABSENT = msgspec.Raw(b"null")
_SHORT = 256
"""Bytes of a text up to which it is decoded, to see whether it is blank."""
_QUOTE = ord('"')
_LETTERS = frozenset((ascii_letters + digits).encode())
"""First characters of most texts. A text with one is not blank, and needs no decoder to show it."""


class _Message(msgspec.Struct):
    """The members of a chat's message that are content. They are not decoded: they may be long."""

    content: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT
    reasoning_content: msgspec.Raw = _ABSENT
    reasoning: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct):
    """The members of a choice that tell of its end and content. Log probabilities are not among them."""

    finish_reason: Any = None
    message: _Message | None = None
    text: msgspec.Raw = _ABSENT

    def note(self, facts: Content) -> None:
        """Note the choice's facts."""
        if self.finish_reason:
            content.finish(self.finish_reason, facts)
        message = self.message
        if message is None:
            content.say(_value(self.text), facts)
            return
        if message.refusal is not _ABSENT:
            content.refuse(_value(message.refusal), facts)
        content.say(_value(message.content), facts)
        if not facts.said:
            for raw in (
                *(message.tool_calls, message.reasoning_content, message.reasoning),
                *(message.function_call, message.audio),
            ):
                content.say(_value(raw), facts)


def _value(raw: msgspec.Raw) -> object:
    """Return a member's value. True stands for a text that is not blank, and for a value that a decoder rejects."""
    if raw is _ABSENT:
        return None
    text = memoryview(raw)
    if len(text) > _SHORT or (text[0] == _QUOTE and text[1] in _LETTERS):
        return True
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # half of a surrogate pair, where an answer was cut within a character
        return True


class _Answer(msgspec.Struct):
    """The members of a whole answer that tell of tokens, content and errors. The decoder makes no values of the others.

    Members that only one API has as an object are typed, which skips the rest of them. Another type of theirs is a
    fault of the decoder, and the whole body is parsed then.
    """

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
    choices: list[_Choice] | None = None
    content: Any = None
    stop_reason: Any = None
    done: Any = None
    done_reason: Any = None
    response: Any = None
    status: Any = None
    incomplete_details: Any = None
    output: Any = None
    text_output: Any = None
    finish_reason: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether it has choices and no member that tells of an error: OpenAI's shape, which nearly all answers have.

        `faults.find` finds no error in it, whatever its other members are.
        """
        return (
            bool(self.choices)
            and self.error is None
            and self.error_code is None
            and self.type is None
            and self.object != "error"
        )

    def named(self) -> dict[str, object]:
        """Return the members that the answer has, by their names."""
        return {name: value for name, value in zip(_MEMBERS, _members(self), strict=True) if value is not None}


_ANSWER = msgspec.json.Decoder(_Answer)
_MEMBERS = _Answer.__struct_fields__
_members = attrgetter(*_MEMBERS)


class BodyReader:
    """An AnswerReader of one body. The client gets it as it comes. The last piece of a body that must be JSON waits for
    the end: a client with all bytes of a faulty body would take it for an answer."""

    __slots__ = (
        "_answer", "_ask", "_decoded", "_is_plain", "_kept", "_last", "_page", "_passed", "_read", "_seen", "_size",
        "_status", "_strict", "content", "events", "fault", "unread", "whole",
    )  # fmt: skip

    def __init__(self, ask: Ask, status: int, *, is_json: bool, is_page: bool = False, unread: bool = False) -> None:
        """`is_page`: it is a page for people, which no API answers with: that of a proxy, or of another server.
        `unread`: it is compressed."""
        self._ask, self._status, self._read, self._page = ask, status, is_json, is_page
        operation = ask.operation
        self._strict = is_json and status == 200 and operation.generates and operation.name not in _ANY_TEXT
        """Whether the answer must be an object or an array."""
        self._last = b""
        """The piece that waits."""
        self._decoded = b""
        """The body that `_answer` was decoded from: one that came whole is decoded once."""
        self._answer: _Answer | None = None
        self._is_plain = False
        """Whether `_answer` has OpenAI's shape and no mark of an error."""
        self._kept: list[bytes] = []
        self._size = self._passed = 0
        """Bytes in `_kept`, and of the body so far."""
        self._seen = TokenCounts()
        """Tokens that the engine reported."""
        self.content = Content() if is_json and status == 200 and operation.writes else None
        self.events = 0
        self.fault = ""
        self.unread = unread
        self.whole = False

    @property
    def counts(self) -> TokenCounts:
        """Tokens of the answer. Without a report of the engine, they are estimated from the length of JSON or of a
        compressed body, and unknown for other bodies. An error status has none."""
        if self._status >= 400:
            return TokenCounts(0, 0)
        return usage.completed(self._seen, self._ask, self._estimate())

    def _estimate(self) -> int | None:
        if self.unread:
            return self._passed // (CODED_STREAM_BYTES_A_TOKEN if self._ask.stream else CODED_BYTES_A_TOKEN)
        return self._passed // BYTES_A_TOKEN if self._read else None

    def first(self, data: bytes, done: bool = False) -> Refusal | bool:
        """Return True, or what a body should have been that is no JSON, or that is an error when it is complete."""
        if self._page and self._status < 400:
            return Refusal(
                RefusalKind.UPSTREAM_FAILED, "The engine answered with a page (text/html)", code="engine_error"
            )
        if self._strict:
            if done and len(data) <= LONGEST_ERROR:
                self._decode(data)
                if self._is_plain:
                    return True
            if (refusal := _unlike_json(data, done)) is not None:
                return refusal
        if not self._read or self._status != 200 or len(data) > LONGEST_ERROR or not self._may_fail(data, done):
            return True
        document = framing.parse(data)
        if document is None:
            return done
        fault = faults.find(document)
        if fault is None and done and _aborted(data):
            fault = faults.Fault(faults.ABORTED, 500, nested=False)
        return True if fault is None else faults.refusal(fault)

    def _may_fail(self, data: bytes, done: bool) -> bool:
        """Return whether a body may be an error: it begins as one, or it is complete and has a member of that name."""
        named = done and self._strict and (b'"error"' in data or b'"abort"' in data)
        return named or bool(_ERROR.match(data))

    def feed(self, data: bytes) -> bytes:
        """Keep a piece of the body for its end."""
        self._passed += len(data)
        if self._read:
            self._kept.append(data)
            self._size += len(data)
            if self._size > MOST_KEPT:
                self._kept = [b"".join(self._kept)[-END_KEPT:]]
                self._size = len(self._kept[0])
        if self._strict:
            data, self._last = self._last, data
        return data

    def end(self) -> bytes:
        """Read the usage, or the error, of the complete body. Return the piece that waits, if the body is good."""
        self._look()
        return b"" if self.fault and self._strict else self._last

    def _look(self) -> None:
        self.whole = True
        body = b"".join(self._kept)
        self._kept = []
        answer = document = None
        if self._read and len(body) == self._passed:
            answer = self._decode(body)
            if answer is not None and self._is_plain and self._status < 400 and usage.take(answer.usage, self._seen):
                self._note_choices(answer.choices)
                return
            document = framing.parse(body) if answer is None else answer.named()
        if self._status >= 400:
            self.fault = faults.of_status(document, self._status)
            return
        if document is not None:
            usage.of_document(document, self._seen)
            fault = faults.find(document)
            self.fault = "" if fault is None else fault.message
            self._note(answer, document)
        else:
            self._look_at(body)
        if _aborted(body):
            self.fault = faults.ABORTED
        if self._strict and not self.fault and not (document or self._is_complete(body)):
            self.fault = NO_JSON

    def _decode(self, body: bytes) -> _Answer | None:
        """Return the members of a body that tell of tokens, content and errors, or None when it is no such object."""
        if body is not self._decoded:
            self._decoded, self._answer = body, _decoded(body)
            self._is_plain = self._answer is not None and self._answer.is_plain and not _aborted(body)
        return self._answer

    def _note(self, answer: _Answer | None, document: dict[str, object]) -> None:
        if answer is not None and answer.choices:
            self._note_choices(answer.choices)
        elif self.content is not None:
            content.of_body(document, self.content)

    def _note_choices(self, choices: list[_Choice] | None) -> None:
        if (facts := self.content) is not None:
            for choice in choices or ():
                choice.note(facts)

    def _look_at(self, body: bytes) -> None:
        """Find the usage and the reason of the end in a body that is not parsed, because it is too long."""
        if found := _USAGE.findall(body):
            usage.of_document({"usage": framing.parse(found[-1])}, self._seen)
        if self.content is not None:
            self.content.said = True
            for word in _FINISH.findall(body):
                content.finish(word.decode(), self.content)

    def _is_complete(self, body: bytes) -> bool:
        """Return whether a body that no parser took ends as JSON does. Of a long one only the end is there."""
        if len(body) == self._passed and json_scan.begins_object(body):
            try:
                json_scan.members(body)
            except Unreadable:
                return False
        return body.rstrip()[-1:] in _ENDS.values()


def _unlike_json(data: bytes, done: bool) -> Refusal | bool | None:
    """Return a refusal for a body that begins, or ends, as no JSON object or array does. False: nothing came yet."""
    begin = data.lstrip()[:1]
    if not begin and not done:
        return False
    if begin not in _ENDS or (done and data.rstrip()[-1:] != _ENDS[begin]):
        return Refusal(RefusalKind.UPSTREAM_FAILED, NO_JSON, code="engine_error")
    return None


def _aborted(body: bytes) -> bool:
    """Return whether the engine broke an answer off because it stops."""
    return b'"abort"' in body and _ABORT.search(body) is not None


def _decoded(body: bytes) -> _Answer | None:
    try:
        return _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
