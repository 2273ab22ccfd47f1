"""A probe: sends one small request as a client would, and counts the outcomes that users would have seen.

A failed request is an outcome of the model, not of the scrape: read() records it and succeeds. The latency of an
unanswered request is unknown, but longer than the time waited. It counts only in the +Inf bucket of the histograms, so
that a P99 includes requests that users gave up on.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import aiohttp
from aiohttp.http import HttpProcessingError
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from collectors.errors import ScrapeError
from collectors.http.http_client import HttpClient, exposition_of
from collectors.probe_protocol import BadAnswer, Dialect, EventStream, dialect_for
from collectors.target import Auth

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0)
"""Bucket bounds in seconds. They are the same for every probe, because one sum by (le) needs equal buckets. 2.0 s is
the default latency threshold."""
FIRST_TOKEN_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Bucket bounds in seconds."""
_DECLARED = (
    ("success", ""),
    ("timeout", "timeout"),
    *(("rejected", reason) for reason in ("http_429", "http_503")),
    *(("error", f"http_{status}") for status in (400, 401, 404, 500, 502, 504)),
    *(("error", reason) for reason in ("connect", "credentials", "cut", "empty", "malformed", "stream_error")),
)
"""(outcome, reason) pairs that are exposed at 0 from the start: ratios exist at once, and the first failure is an
increase."""
_REJECTED = (429, 503)
_MAX_ANSWER_BYTES = 2**20
_DEADLINE_SHARE = 0.9
"""Share of the scrape's deadline for the request. The rest is for reporting a timeout."""


class Asked(NamedTuple):
    """Outcome of one request. Times are seconds since it was sent; `first_token_s` is None when no token came."""

    outcome: str
    reason: str
    duration_s: float
    first_token_s: float | None


class ProbeSource:
    """Sends one request to `url` per read, and yields the canonical metrics of all requests so far.

    `protocol` is `openai` or `triton`; None derives it from the URL's path. `timeout_s` is the time that a user would
    wait; it is cut to nine tenths of the scrape's own deadline. `parameters` are added to the request's body.
    Raises CollectorError when the URL fits no protocol.
    """

    def __init__(
        self,
        url: str,
        protocol: str | None = None,
        model: str = "",
        prompt: str = "ping",
        *,
        timeout_s: float | None = None,
        parameters: Mapping[str, Any] | None = None,
        tensors: tuple[str, str] = ("text_input", "text_output"),
        auth: Auth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._dialect: Dialect = dialect_for(url, protocol, model, prompt, parameters or {}, tensors)
        self._timeout_s = timeout_s
        self._clock = clock
        self._client = HttpClient(auth)
        self._tally = _Tally(model)

    async def read(self, timeout_s: float) -> bytes:
        """Send one request, and return the exposition. A failed request is recorded, not raised."""
        limit = timeout_s * _DEADLINE_SHARE
        asked = await self._ask(limit if self._timeout_s is None else min(limit, self._timeout_s))
        self._tally.add(asked)
        return exposition_of(self._tally.families())

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _ask(self, deadline_s: float) -> Asked:
        progress = _Progress(self._clock)
        try:
            async with asyncio.timeout(deadline_s):
                outcome, reason = await self._exchange(progress)
        except TimeoutError:
            outcome, reason = "timeout", "timeout"
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
        return Asked(outcome, reason, self._clock() - progress.started, progress.first_token_s)

    async def _exchange(self, progress: _Progress) -> tuple[str, str]:
        options = await self._client.options()
        progress.restart()  # reading credentials does not count as waiting time
        session = self._client.session()
        async with session.post(self._url, json=self._dialect.question(), **options) as response:
            progress.answering = True
            if response.status in _REJECTED:
                return "rejected", f"http_{response.status}"
            if response.status != 200:
                return "error", f"http_{response.status}"
            try:
                await self._read_answer(response, progress)
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError):
                if not progress.finished:
                    raise BadAnswer("cut") from None
            finally:
                response.close()  # the rest of the answer must not be drained: it may never end
            if not (progress.finished or self._dialect.ends_with_connection):
                raise BadAnswer("cut")
            return ("success", "") if progress.first_token_s is not None else ("error", "empty")

    async def _read_answer(self, response: aiohttp.ClientResponse, progress: _Progress) -> None:
        received, whole = 0, bytearray()
        stream = EventStream() if response.content_type == "text/event-stream" else None
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received > _MAX_ANSWER_BYTES:
                raise BadAnswer("malformed")
            if stream is None:
                whole += chunk
                continue
            for data in stream.feed(chunk):
                progress.note(self._dialect.event(data))
                if data.strip() == "[DONE]":
                    return
        if stream is None:  # the server answered in one piece
            progress.note(self._dialect.event(whole.decode("utf-8", "replace")))
            progress.finished = True


class _Progress:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.answering = False
        self.finished = False
        self.first_token_s: float | None = None

    def restart(self) -> None:
        self.started = self._clock()

    def note(self, event: Any) -> None:
        if event.content and self.first_token_s is None:
            self.first_token_s = self._clock() - self.started
        self.finished = self.finished or event.finished


class _Buckets:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, *, unfinished: bool = False) -> None:
        """Count one duration. An unfinished one counts as longer than any bound; the sum gets the time waited."""
        self._counts[-1 if unfinished else bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))


class _Tally:
    """Counts requests, and yields the counts as canonical metrics."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._outcomes: dict[tuple[str, str], int] = dict.fromkeys(_DECLARED, 0)
        self._duration = _Buckets(DURATION_BUCKETS)
        self._first_token = _Buckets(FIRST_TOKEN_BUCKETS)

    def add(self, asked: Asked) -> None:
        """Count one request. Refusals and errors are left out of the latencies: they are fast, and no answers."""
        key = (asked.outcome, asked.reason)
        self._outcomes[key] = self._outcomes.get(key, 0) + 1
        timed_out = asked.outcome == "timeout"
        if asked.outcome == "success" or timed_out:
            self._duration.observe(asked.duration_s, unfinished=timed_out)
        if asked.first_token_s is not None:
            self._first_token.observe(asked.first_token_s)
        elif timed_out:
            self._first_token.observe(asked.duration_s, unfinished=True)

    def families(self) -> Iterator[Metric]:
        """Yield the metric families. None of them has a `_created` sample."""
        names = ["source", "served_model"]
        own = ["probe", self._model]
        requests = CounterMetricFamily(
            "llm_requests", "Requests of the probe, by outcome and reason.", labels=[*names, "outcome", "reason"]
        )
        for key, count in self._outcomes.items():
            requests.add_metric([*own, *key], count)
        yield requests
        for name, text, buckets in (
            ("llm_request_duration_seconds", "Time from the request to the end of its answer.", self._duration),
            ("llm_time_to_first_token_seconds", "Time from the request to its first token.", self._first_token),
        ):
            family = HistogramMetricFamily(name, text, labels=names)
            family.add_metric(own, buckets.cumulative(), buckets.sum)
            yield family
