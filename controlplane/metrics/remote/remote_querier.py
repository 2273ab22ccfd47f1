"""Queries that another server answers: Prometheus, Mimir, Thanos, VictoriaMetrics, or any server with their API."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from collectors.target import Auth
from controlplane.errors import QueryError, Unavailable
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.query.queries import LabelSet, samples_of
from controlplane.metrics.query.render import TRUNCATED, Rendered
from controlplane.metrics.query.workers.fair_queue import FairQueue, Shares
from controlplane.metrics.remote.remote_answer import RemoteAnswer, Shape, read_answer, typed
from controlplane.remote_client import RemoteClient, Reply

log = logging.getLogger(__name__)

MAX_REPLY_BYTES = 32 * 2**20
"""Maximum bytes of an answer. Chosen: some 200 series of 11,000 points, which is Prometheus's own limit of points."""
ADHOC_AT_ONCE = 8
"""Maximum number of ad-hoc queries at a time, at most half of them of one asker. Chosen. Queries of rules do not count,
so many ad-hoc queries do not delay an alert."""
OWN_AT_ONCE = 8
"""Maximum number of queries of the control plane's own readers at a time. Chosen."""
CHECK_TIMEOUT_S = 10.0
REASSURE_S = 5.0
"""Seconds that a server may take to answer `vector(1)` after a query without an answer. Chosen."""
REST_S = 10.0
"""Seconds for which rules do not query a server that did not answer. Chosen."""
STOPPING = "the control plane is stopping"
_THREAD_BYTES = 64 * 2**10
_MAX_TOLD = 500
"""Characters of a server's error message that are passed on."""
_WHOLE = [("partial_response", "false"), ("deny_partial_response", "1")]
"""Parameters for Thanos and VictoriaMetrics: all data or an error. Other servers ignore them."""
_PATHS = (
    "metrics.query_url ends before /api/v1: Mimir's with /prometheus, VictoriaMetrics's cluster with "
    "/select/0/prometheus"
)
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_KINDS = {"bad_data": "bad_data", "400": "bad_data", "timeout": "timeout", "503": "timeout"}

Read = TypeVar("Read")


class _NoAnswer(QueryError):
    """The server sent no answer, or only a part of it."""


class _Ask(NamedTuple):
    path: str
    params: list[tuple[str, str]]
    shape: Shape = "query"
    method: str = "POST"
    limit: int = 0


class RemoteQuerier:
    """Implements queries.Queries. A missing, late, truncated or partial answer is an error, never an empty result."""

    def __init__(
        self, url: str, auth: Auth | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30.0
    ) -> None:
        """`url` is the address before `/api/v1/query`. `timeout_s` is the maximum time of every query."""
        self._client = RemoteClient(url, auth, headers, max_reply_bytes=MAX_REPLY_BYTES)
        self._timeout_s = timeout_s
        self._adhoc = FairQueue(Shares(each=ADHOC_AT_ONCE // 2, together=ADHOC_AT_ONCE, most=2 * ADHOC_AT_ONCE))
        self._own = FairQueue(Shares(each=OWN_AT_ONCE, together=OWN_AT_ONCE, most=OWN_AT_ONCE))
        self._closed = False
        self._requests: set[asyncio.Task[Reply]] = set()
        self._doubted = False
        """Whether the last query of a rule got no answer."""
        self._resting: QueryError | None = None
        self._rest_until = 0.0
        self.fault = ""
        """Reason why the last `check` failed. "" when it succeeded."""

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate a rule's expression; see alerts.interfaces.Querier.

        Raises QueryFailed when the query fails or the answer is partial.
        """
        try:
            await self._reassure()
            return samples_of(await self._value(expr, at, self._timeout_s))
        except QueryError as error:
            self._doubted = isinstance(error, _NoAnswer)
            raise QueryFailed(f"{error.kind}: {error}") from error

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at one instant, for the control plane's own readers; see Queries. A partial answer is an error."""
        value: QueryValue = await self._in_turn(self._own, "", lambda left: self._value(expr, at, left))
        return value

    async def instant_json(
        self,
        expr: str,
        at: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        asker: str = "",
    ) -> Rendered:
        """Pass an instant query and its answer through; see Queries."""
        params = [("query", expr), ("time", _time(at)), *_lookback(lookback_s)]
        return await self._rendered(_Ask("query", params, limit=limit), asker, timeout_s)

    async def range_json(
        self,
        expr: str,
        start: float,
        end: float,
        step: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        asker: str = "",
    ) -> Rendered:
        """Pass a range query and its answer through; see Queries."""
        params = [("query", expr), ("start", _time(start)), ("end", _time(end)), ("step", _time(step))]
        params += _lookback(lookback_s)
        return await self._rendered(_Ask("query_range", params, limit=limit), asker, timeout_s)

    async def series(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[LabelSet]:
        """Return label sets; see Queries. Raises QueryError when the query fails."""
        if not selectors:
            raise QueryError("bad_data", "no match[] parameter provided")
        found = await self._listed(_Ask("series", _interval(selectors, start, end), "list"), asker)
        return sorted((_labels(self._client.name, e) for e in found), key=lambda labels: sorted(labels.items()))

    async def label_names(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return label names; see Queries."""
        ask = _Ask("labels", _interval(selectors, start, end), "list")
        return sorted(str(e) for e in await self._listed(ask, asker))

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the values of a label; see Queries."""
        path = f"label/{quote(_escaped(name), safe='')}/values"
        ask = _Ask(path, _interval(selectors, start, end), "list", "GET")
        return sorted(str(e) for e in await self._listed(ask, asker))

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of metric families; see Queries."""
        params = [("metric", metric)] if metric else []
        params += [("limit", str(limit))] if limit >= 0 else []
        found = await self._listed(_Ask("metadata", params, "map", "GET"), None)
        try:
            known = {str(name): [_labels(self._client.name, one) for one in told] for name, told in found[0].items()}
        except (AttributeError, TypeError):
            raise self._odd("metadata has another shape") from None
        return dict(sorted(known.items())[: limit if limit >= 0 else None])

    async def check(self) -> None:
        """Query `vector(1)` and set `fault`. It raises nothing, so that a loop can call it."""
        before = self.fault
        try:
            await self._value("vector(1)", 0.0, min(CHECK_TIMEOUT_S, self._timeout_s))
            self.fault = ""
        except QueryError as error:
            self.fault = str(error)
        if self.fault and not before:
            log.error("metrics: %s; no rule can be evaluated meanwhile, and their alerts stay as they are", self.fault)
        elif before and not self.fault:
            log.info("metrics: %s answers again", self._client.name)

    def refuse(self) -> None:
        """Accept no further queries. Waiting ones fail with "the control plane is stopping"."""
        self.close()
        for request in self._requests:
            request.cancel()

    def close(self) -> None:
        """Accept no further queries."""
        self._closed = True

    async def disconnect(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _reassure(self) -> None:
        """Check the server with `vector(1)` if the last query of a rule got no answer. If that fails too, rest.

        Rules are evaluated one after the other. If each waited for a server that hangs, one round would take minutes.
        After a single slow query the check succeeds at once. Raises QueryError while the server does not answer.
        """
        if not self._doubted:
            return
        loop = asyncio.get_running_loop()
        if self._resting and loop.time() < self._rest_until:
            raise _NoAnswer(self._resting.kind, f"{self._resting} (not asked again for {REST_S:g}s)")
        try:
            await self._value("vector(1)", 0.0, min(REASSURE_S, self._timeout_s))
        except _NoAnswer as error:
            self._resting, self._rest_until = error, loop.time() + REST_S
            raise
        self._doubted, self._resting = False, None

    async def _value(self, expr: str, at: float, timeout_s: float) -> QueryValue:
        elements: list[Any] = []
        params = [("query", expr), ("time", _time(at)), *_WHOLE]

        def read(text: str, ask: _Ask) -> tuple[RemoteAnswer, QueryValue | None]:
            answer = read_answer(text, ask.shape, elements.append)
            return answer, typed(answer.result_type, elements) if answer.status == "success" else None

        answer, value = await self._ask(_Ask("query", params), timeout_s, read)
        if answer.incomplete:
            told = answer.incomplete[:_MAX_TOLD]
            raise QueryError("execution", f"{self._client.name} answered with part of the data only: {told}")
        assert value is not None
        return value

    async def _rendered(self, ask: _Ask, asker: str, timeout_s: float | None) -> Rendered:
        if ask.limit:
            ask = ask._replace(params=[*ask.params, ("limit", str(ask.limit))])

        def read(text: str, ask: _Ask) -> tuple[RemoteAnswer, bytes]:
            answer = read_answer(text, ask.shape, limit=ask.limit)
            return answer, answer.data.encode()

        answer, data = await self._in_turn(self._adhoc, asker, lambda left: self._ask(ask, left, read), timeout_s)
        warnings = list(answer.warnings)
        if answer.partial:
            warnings.append(f"{self._client.name} answered with part of the data only")
        if answer.cut and TRUNCATED not in warnings:
            warnings.append(TRUNCATED)
        return Rendered(data, tuple(warnings), answer.infos)

    async def _listed(self, ask: _Ask, asker: str | None) -> list[Any]:
        """Return the elements of a list, or a map as one element. `asker` None: one of the control plane's readers."""
        queue = self._own if asker is None else self._adhoc

        def read(text: str, ask: _Ask) -> tuple[RemoteAnswer, list[Any]]:
            found: list[Any] = []
            return read_answer(text, ask.shape, found.append), found

        answer, found = await self._in_turn(queue, asker or "", lambda left: self._ask(ask, left, read))
        if answer.incomplete:
            told = answer.incomplete[:_MAX_TOLD]
            raise QueryError("execution", f"{self._client.name} answered with part of the data only: {told}")
        return found or ([{}] if ask.shape == "map" else [])

    async def _in_turn(
        self, queue: FairQueue, asker: str, call: Callable[[float], Any], timeout_s: float | None = None
    ) -> Any:
        """Run a query when it is its asker's turn. The time in the queue counts against the deadline."""
        longest = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        if self.fault:
            longest = min(longest, REASSURE_S)  # the server did not answer `check`: a page of the console must not hang
        loop = asyncio.get_running_loop()
        until = loop.time() + longest
        try:
            async with asyncio.timeout_at(until):
                turn = await queue.turn(asker)
        except TimeoutError as error:
            waited = f"query timed out after {longest:g}s behind others that {self._client.name} has not answered"
            raise QueryError("timeout", waited) from error
        try:
            return await call(max(0.0, until - loop.time()))
        finally:
            turn.end()

    async def _ask(
        self, ask: _Ask, timeout_s: float, read: Callable[[str, _Ask], tuple[RemoteAnswer, Read]]
    ) -> tuple[RemoteAnswer, Read]:
        if self._closed:
            raise QueryError("execution", STOPPING)
        form = [*ask.params, ("timeout", f"{timeout_s:.3f}")] if ask.shape == "query" else ask.params
        sent: dict[str, Any] = {"form": form} if ask.method == "POST" else {"params": form}
        request = asyncio.create_task(self._client.request(ask.method, f"api/v1/{ask.path}", timeout_s, **sent))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            reply = await request
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if asking is not None and not asking.cancelling():  # then `refuse` ended the request alone
                raise QueryError("execution", STOPPING) from None
            raise
        except TimeoutError as error:
            raise _NoAnswer("timeout", f"{error}; metrics.query.timeout bounds it") from error
        except Unavailable as error:
            raise _NoAnswer("execution", f"{error}; see metrics.query_url") from error
        if len(reply.body) > _THREAD_BYTES:
            return await asyncio.to_thread(self._judge, ask, reply, read)
        return self._judge(ask, reply, read)

    def _judge(
        self, ask: _Ask, reply: Reply, read: Callable[[str, _Ask], tuple[RemoteAnswer, Read]]
    ) -> tuple[RemoteAnswer, Read]:
        name, status = self._client.name, reply.status
        try:
            answer, found = read(reply.body.decode(), ask)
        except ValueError as error:
            if status != HTTPStatus.OK:
                raise self._refused(reply, "", "") from error
            if reply.content_type == "text/html":
                raise self._odd("a web page, not the API's JSON") from error
            raise self._odd(f"with what is no Prometheus API's JSON: {error}") from error
        if answer.status == "error" or status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            raise self._refused(reply, answer.error_type, answer.error or f"{name} gives no reason")
        return answer, found

    def _refused(self, reply: Reply, error_type: str, told: str) -> QueryError:
        """Return the error for a status. `told` is the server's own message, if its answer was JSON."""
        name, status, told = self._client.name, reply.status, told[:_MAX_TOLD]
        own = f": {told}" if told else ""
        match status:
            case 401 | 403:
                cure = "see metrics.query.authorization, basic_auth and headers"
                return QueryError("execution", f"{name} refuses our credentials ({status}){own}; {cure}")
            case 404:
                return QueryError("execution", f"{name} has no Prometheus API there (404); {_PATHS}")
            case 429:
                return QueryError("execution", f"{name} has too many queries to answer (429){own}; try again later")
            case _ if 300 <= status < 400:
                where = f"host {reply.location}" if reply.location else "another path"
                return QueryError(
                    "execution", f"{name} redirects to {where} ({status}); set metrics.query_url to the final address"
                )
        kind = {400: "bad_data", 422: "execution", 503: "timeout", 504: "timeout"}.get(status)
        kind = kind or _KINDS.get(error_type, "execution")
        if kind == "bad_data" and told:
            return QueryError(kind, told)  # about the query, whoever evaluates it
        return QueryError(kind, f"{name} failed the query ({status}){own}")

    def _odd(self, what: str) -> QueryError:
        cure = "metrics.query_url must be the address of a Prometheus-compatible API, without /api/v1"
        return QueryError("execution", f"{self._client.name} answered {what}; {cure}")


def _lookback(seconds: float | None) -> list[tuple[str, str]]:
    return [] if seconds is None else [("lookback_delta", f"{seconds:.3f}s")]


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"


def _interval(selectors: Sequence[str], start: float | None, end: float | None) -> list[tuple[str, str]]:
    params = [("match[]", selector) for selector in selectors]
    params += [("start", _time(start))] if start is not None else []
    return params + ([("end", _time(end))] if end is not None else [])


def _escaped(name: str) -> str:
    """Return a label's name for a URL path. In Prometheus 3 a UTF-8 name is written as `U__…`."""
    if _LEGACY_LABEL.fullmatch(name):
        return name
    return "U__" + re.sub(r"[^a-zA-Z0-9]", lambda c: "__" if c[0] == "_" else f"_{ord(c[0]):x}_", name)


def _labels(server: str, element: Any) -> LabelSet:
    if not isinstance(element, dict) or not all(isinstance(v, str) for v in element.values()):
        raise QueryError("execution", f"{server} answered with series of another shape")
    return {str(k): v for k, v in element.items()}
