"""Reads a stream of events while it passes to the client."""

from __future__ import annotations

from controlplane.gateway.dialects import shapes
from controlplane.gateway.dialects.answers import faults, framing, usage
from controlplane.gateway.dialects.answers.events import ABORT, CONTENT, FINISH, LAST, NO_MARK, ONLY_USAGE, api_of
from controlplane.gateway.dialects.answers.framing import Framing
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Content, TokenCounts

MOST_HELD = 16 * 2**10
"""Bytes of an incomplete event that are held back. A longer one passes in pieces."""
MOST_READ = 2**20
"""Bytes of a long event that are kept for reading it. A longer one counts as content, unread."""
_DONE = b"[DONE]"


class StreamReader:
    """An AnswerReader of a stream.

    The client gets whole events. A piece of one is held back until the rest comes, so that a stream that breaks off can
    still end in an event that says so. After an engine's error nothing more is returned: an end mark behind it would
    make the answer look finished. An error in another API's shape is replaced by one that the client understands.
    """

    unread = False

    __slots__ = (
        "_any_text", "_api", "_ask", "_closed", "_facts", "_finished", "_framing", "_held", "_long", "_loud", "_mark",
        "_operation", "_seen", "_strip", "_too_long", "content", "events", "fault", "whole",
    )  # fmt: skip

    def __init__(self, ask: Ask, frames: Framing, *, strip: bool) -> None:
        api = api_of(ask.operation)
        self._ask, self._operation, self._framing, self._api, self._strip = ask, ask.operation, frames, api, strip
        self._closed = b"}" + frames.end
        """End of an event that is not cut short."""
        self._any_text = ask.operation.dialect == "plain"
        """Whether events may be any text: those of an engine's own API."""
        self._facts = Content()
        self.content = self._facts if ask.operation.writes else None
        self._mark = api.mark if self.content is None else NO_MARK
        """The API's mark, from the first content on. Until then every event is parsed."""
        self._loud = api.loud
        self._held = b""
        self._long: bytearray | None = None
        """The long event that passes, or its last bytes once it is too long to be read."""
        self._too_long = False
        """Pieces of an event that was too long to be held back, or None."""
        self._finished = False
        self._seen = TokenCounts()
        """Tokens that the engine reported."""
        self.events = 0
        self.fault = ""
        self.whole = False

    @property
    def counts(self) -> TokenCounts:
        """Tokens so far. Without a report of the engine, an event counts as one token."""
        return usage.completed(self._seen, self._ask, self.events)

    def first(self, data: bytes, done: bool = False) -> Refusal | bool:
        """Return whether the first event with data is complete and good, or the refusal that it should have been."""
        start = 0
        for end in self._framing.ends.finditer(data):
            text = self._framing.text(data[start : end.end()])
            start = end.end()
            if text:
                return self._refused(text) or True
        return len(data) > MOST_HELD

    def _refused(self, text: bytes) -> Refusal | None:
        if text == _DONE:
            return None
        document = framing.parse(text)
        fault = faults.find(document)
        if document is None and not self._any_text:
            fault = faults.Fault(faults.NO_EVENT, 500, nested=False)
        if fault is None and document is not None and self._api.sort(document, TokenCounts(), Content()) & ABORT:
            fault = faults.Fault(faults.ABORTED, 500, nested=False)
        return None if fault is None else faults.refusal(fault)

    def feed(self, data: bytes) -> bytes:
        """Count the events of a piece, and return what the client gets now."""
        if self.fault:
            return b""
        if self._long is not None:
            return self._feed_long(self._long, data)
        if self._held:
            data = self._held + data
            self._held = b""
        end = self._framing.end
        if not data.endswith(end):
            return self._feed_partial(data)
        if data.count(end) != 1 or self._mark not in data or not data.endswith(self._closed):
            return self._each(data)
        for text in self._loud:
            if text in data:
                return self._each(data)
        self.events += 1
        return data

    def end(self) -> bytes:
        """Note the end of the body, and return what was held back: at most a last event without its empty line.

        In an answer that broke off such an event is dropped: the event that says so could not stand behind it.
        """
        rest, self._held = self._held, b""
        if rest and not self.fault:
            rest = self._each(rest, at_end=True) if self._is_complete(self._framing.text(rest)) else b""
        if not self.fault and (self._finished or self._api.ends_with_body):
            self.whole = True
        return rest if self.whole or self.fault else b""

    def _is_complete(self, text: bytes) -> bool:
        """Return whether the text of an event without its end is all of it."""
        return not text or text == _DONE or self._any_text or framing.parse(text) is not None

    def _feed_partial(self, data: bytes) -> bytes:
        """Read the complete events, and hold back what follows them. A long event passes in pieces."""
        cut = data.rfind(self._framing.end) + len(self._framing.end)
        if cut < len(self._framing.end):
            cut = max((end.end() for end in self._framing.ends.finditer(data)), default=0) if b"\r" in data else 0
        complete, held = self._each(data[:cut]), data[cut:]
        if self.fault:
            return complete
        if len(held) > MOST_HELD:
            self._long = bytearray(held)
            return complete + held
        self._held = held
        return complete

    def _feed_long(self, long: bytearray, data: bytes) -> bytes:
        """Let a piece of a long event pass. When the event is complete, read it."""
        before = bytes(long[-3:])
        found = self._framing.ends.search(before + data)
        if found is None:
            long += data
            if len(long) > MOST_READ:
                self._long, self._too_long = long[-3:], True
            return data
        cut = found.end() - len(before)
        event, too_long = bytes(long) + data[:cut], self._too_long
        self._long, self._too_long = None, False
        if too_long:
            self.events += 1
            told = event
        else:
            told = self._read(event)
        if self.fault:
            return data[:cut] if told is event else data[:cut] + told
        return data[:cut] + self.feed(data[cut:])

    def _is_quiet(self, event: bytes) -> bool:
        return self._mark in event and event.endswith(self._closed) and not any(text in event for text in self._loud)

    def _each(self, data: bytes, *, at_end: bool = False) -> bytes:
        """Read complete events one by one, and return those that the client gets."""
        kept, start = [], 0
        ends = [end.end() for end in self._framing.ends.finditer(data)]
        for end in [*ends, len(data)] if at_end else ends:
            event = data[start:end]
            start = end
            if self._is_quiet(event):
                self.events += 1
                kept.append(event)
            elif event:
                kept.append(self._read(event))
                if self.fault:
                    break
        return b"".join(kept)

    def _read(self, event: bytes) -> bytes:
        """Read one event, and return what the client gets of it."""
        text = self._framing.text(event)
        if text == _DONE:
            self.whole = self._finished = True
            return event
        if not text:
            return event
        document = framing.parse(text)
        if document is None:
            if not self._any_text:
                return self._failed(faults.Fault(faults.NO_EVENT, 500, nested=False), event)
            self.events += 1
            self._facts.said = True
            return event
        fault = faults.find(document)
        if fault is not None:
            return self._failed(fault, event)
        facts = self._facts
        bits = self._api.sort(document, self._seen, facts)
        if self._mark is NO_MARK and (facts.said or len(text) > framing.LARGE):
            facts.said = True  # of a large event, only small members were parsed
            self._mark = self._api.mark
        if bits & ABORT:
            return self._failed(faults.Fault(faults.ABORTED, 500, nested=False), event)
        if bits == CONTENT and self._mark is not NO_MARK and self._mark not in event:
            self._respell(event)
        self.events += bits & CONTENT
        self._finished = self._finished or bool(bits & FINISH)
        self.whole = self.whole or bool(bits & LAST)
        return b"" if bits & ONLY_USAGE and self._strip else event

    def _respell(self, event: bytes) -> None:
        """Look for the mark as the engine writes JSON, which is the same in all events of a stream."""
        spaced = api_of(self._operation, spaced=True)
        if spaced.mark in event:
            self._mark, self._loud = spaced.mark, spaced.loud

    def _failed(self, fault: faults.Fault, event: bytes) -> bytes:
        self.fault = fault.message
        return event if self._is_understood(fault, event) else shapes.broken(self._operation, fault.message)

    def _is_understood(self, fault: faults.Fault, event: bytes) -> bool:
        """Return whether clients of the API see an error in the event as it is."""
        dialect = self._operation.dialect
        if fault.message in faults.OURS:
            return False
        if dialect == "anthropic":
            return fault.nested and event.startswith(b"event: error")
        return dialect == "plain" or fault.nested == (dialect == "openai")
