"""A probe: sends one small request as a client would, and counts the outcomes that users would have seen.

A failed request is an outcome of the model, not of the scrape: read() records it and succeeds. The latency of an
unanswered request is unknown, but longer than the time waited. It counts only in the +Inf bucket of the histograms, so
that a P99 includes requests that users gave up on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

import aiohttp
from aiohttp.http import HttpProcessingError

from collectors.errors import CollectorError, ScrapeError
from collectors.http.http_client import HttpClient, exposition_of
from collectors.probe.answered import answered_family, mark_of
from collectors.probe.dialects import dialect_for
from collectors.probe.misfit import DENIED, MISFITS, Misfit, refused, remark_of, secrets_of, shown_url
from collectors.probe.protocol import BadAnswer, Dialect, Event, EventStream, LineStream
from collectors.probe.question import Question
from collectors.probe.rate_limits import rate_limits
from collectors.probe.tally import Asked, Tally
from collectors.target import Auth

_REJECTED = (429, 503)
_MAX_ANSWER_BYTES = 2**20
_MAX_ERROR_BYTES = 4096
"""Bytes of an error's body that are read; 200 characters of it are kept (chosen)."""
_DEADLINE_SHARE = 0.9
"""Share of the scrape's deadline for the request. The rest is for reporting a timeout."""


class ProbeSource:
    """Sends one request to `url` per read, and yields the canonical metrics of all requests so far.

    `protocol` is one of dialects.PROTOCOLS; None derives it from the URL's path. Several `questions` are asked in turn,
    one a read. `timeout_s` is the time that a user would wait; it is cut to nine tenths of the scrape's own deadline.
    A question that the server refuses is `invalid`, until the server has answered it once: from then on it is `error`.
    `remembered` returns the marks of the questions that earlier probes of this target saw answered.
    Raises CollectorError when the URL fits no protocol.
    """

    def __init__(
        self,
        url: str,
        protocol: str | None = None,
        model: str = "",
        questions: Sequence[Question] = (Question(),),
        *,
        timeout_s: float | None = None,
        auth: Auth | None = None,
        remembered: Callable[[], Collection[str]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if not questions:
            raise CollectorError(f"probe {shown_url(url)}: there is no question")
        self._url, self._model = url, model
        self._dialects = [dialect_for(url, protocol, model, question) for question in questions]
        self._marks = [mark_of(dialect) for dialect in self._dialects]
        known = remembered()
        self._answered = [mark in known for mark in self._marks]
        self._remarks = [""] * len(questions)
        self._next = 0
        self._timeout_s = timeout_s
        self._clock, self._wall = clock, wall
        self._client = HttpClient(auth)
        self._tally = Tally(model)

    @property
    def remark(self) -> str:
        """The sentence about a question that does not fit the server, or "". It holds no secret."""
        return next(filter(None, self._remarks), "")

    async def read(self, timeout_s: float) -> bytes:
        """Send one request, and return the exposition. A failed request is recorded, not raised."""
        limit = timeout_s * _DEADLINE_SHARE
        turn, self._next = self._next, (self._next + 1) % len(self._dialects)
        asked = await self._ask(turn, limit if self._timeout_s is None else min(limit, self._timeout_s))
        self._tally.add(asked, generates=self._dialects[turn].generates)
        marks = [mark for mark, answered in zip(self._marks, self._answered, strict=True) if answered]
        return exposition_of([*self._tally.families(), answered_family(marks)])

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _ask(self, turn: int, deadline_s: float) -> Asked:
        progress = _Progress(self._clock)
        try:
            async with asyncio.timeout(deadline_s):
                outcome, reason = await self._exchange(self._dialects[turn], progress)
        except TimeoutError:
            outcome, reason = "timeout", "timeout"
        except Misfit as misfit:
            outcome, reason = "error" if self._answered[turn] else "invalid", misfit.reason
            self._remarks[turn] = "" if self._answered[turn] else remark_of(self._model, self._url, misfit)
        except BadAnswer as error:
            outcome, reason = "error", error.reason
        except ScrapeError:
            outcome, reason = "error", "credentials"
        except aiohttp.ClientConnectionError as error:
            # A server that closes after it got the request ("cut") differs from one that is not there ("connect").
            cut = isinstance(error, aiohttp.ServerDisconnectedError) or progress.answering
            outcome, reason = "error", "cut" if cut else "connect"
        except aiohttp.ClientPayloadError:
            outcome, reason = "error", "cut"
        except (aiohttp.ClientError, HttpProcessingError, ValueError):
            outcome, reason = "error", "malformed"
        except OSError:
            outcome, reason = "error", "cut" if progress.answering else "connect"
        if outcome == "success":
            self._answered[turn], self._remarks[turn] = True, ""
        return Asked(outcome, reason, self._clock() - progress.started, progress.first_token_s)

    async def _exchange(self, dialect: Dialect, progress: _Progress) -> tuple[str, str]:
        options = await self._client.options(self._url)
        authorization = options["headers"].get("Authorization", "")
        options["headers"].update(dialect.headers(authorization))
        progress.restart()  # reading credentials does not count as waiting time
        session = self._client.session()
        async with session.post(self._url, json=dialect.body(), **options) as response:
            progress.answering = True
            self._tally.limited(rate_limits(response.headers, self._wall()))
            if response.status in _REJECTED:
                return "rejected", f"http_{response.status}"
            if response.status in MISFITS | DENIED:
                said = await _error_body(response)
                # A request that was sent again has another token.
                sent = response.request_info.headers.get("Authorization", "")
                secrets = *secrets_of(self._url, authorization), *secrets_of(self._url, sent)
                raise refused(response.status, said, secrets)
            if response.status != 200:
                return "error", f"http_{response.status}"
            try:
                await _read_answer(dialect, response, progress)
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError):
                if not progress.finished and progress.received:
                    raise BadAnswer("cut") from None
            finally:
                response.close()  # the rest of the answer must not be drained: it may never end
        return self._judged(dialect, progress)

    def _judged(self, dialect: Dialect, progress: _Progress) -> tuple[str, str]:
        """Return the outcome of a whole answer. Raises BadAnswer, and Misfit where the tokens ran out."""
        if not progress.received:  # FastChat answers 200 and sends nothing when its worker fails
            raise BadAnswer("empty")
        if not (progress.finished or dialect.ends_with_connection):
            raise BadAnswer("cut")
        if progress.first_token_s is None:
            if progress.at_limit:
                raise Misfit("token_limit", "the answer reached its limit of tokens before it had any text")
            raise BadAnswer("empty")
        if not dialect.question.expect.holds("".join(progress.texts), progress.dimension):
            raise BadAnswer("unexpected_answer")
        return "success", ""


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the begin of an error's body, or nothing when it does not come."""
    said = b""
    try:
        while len(said) < _MAX_ERROR_BYTES and (chunk := await response.content.readany()):
            said += chunk
    except (aiohttp.ClientError, OSError):
        pass
    finally:
        response.close()
    return said[:_MAX_ERROR_BYTES]


async def _read_answer(dialect: Dialect, response: aiohttp.ClientResponse, progress: _Progress) -> None:
    whole = bytearray()
    stream: EventStream | LineStream | None = None
    if response.content_type == "text/event-stream":
        stream = EventStream()
    elif dialect.lines:
        stream = LineStream()
    async for chunk in response.content.iter_any():
        progress.received += len(chunk)
        if progress.received > _MAX_ANSWER_BYTES:
            raise BadAnswer("malformed")
        if stream is None:
            whole += chunk
            continue
        for data in stream.feed(chunk):
            progress.note(dialect.event(data))
            if data.strip() == "[DONE]":
                return
    if isinstance(stream, LineStream):
        for data in stream.feed(b"\n"):  # the last line may lack its end
            progress.note(dialect.event(data))
    if whole:  # the server answered in one piece
        progress.note(dialect.event(whole.decode("utf-8", "replace")))
        progress.finished = True


class _Progress:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.answering = False
        self.finished = False
        self.received = 0
        """Bytes of the answer's body so far."""
        self.texts: list[str] = []
        self.dimension: int | None = None
        self.at_limit = False
        self.first_token_s: float | None = None

    def restart(self) -> None:
        self.started = self._clock()

    def note(self, event: Event) -> None:
        if event.content and self.first_token_s is None:
            self.first_token_s = self._clock() - self.started
        self.finished = self.finished or event.finished
        self.texts.append(event.text)
        self.dimension = event.dimension if self.dimension is None else self.dimension
        self.at_limit = self.at_limit or event.at_limit
