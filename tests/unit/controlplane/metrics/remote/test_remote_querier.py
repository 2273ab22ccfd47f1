"""Another metrics server over real sockets: good answers, and the error for each way of failing."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from collectors.target import Auth
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import Matrix, Scalar, StringValue, Vector
from controlplane.metrics.remote import remote_querier
from controlplane.metrics.remote.remote_querier import RemoteQuerier
from controlplane.remote_client import Reply
from tests.patience import HANG_S

Handler = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]
SECRET = "s3cret-that-no-message-may-show"


class Asked:
    """One request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.method, target, _ = first.split(" ")
        self.path = urlsplit(target).path
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        self.form = parse_qsl(body.decode() if self.method == "POST" else urlsplit(target).query)


@asynccontextmanager
async def serving(handler: Handler, *, closing: bool = False) -> AsyncIterator[tuple[str, list[Asked]]]:
    """Serve a metrics server at a path of its own; yields its address and what it was asked."""
    asked: list[Asked] = []
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = Asked(head[:-4], b"")
                body = await reader.readexactly(int(request.headers.get("content-length", "0")))
                asked.append(Asked(head[:-4], body))
                await handler(asked[-1], writer)
                await writer.drain()
                if closing:
                    break
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prometheus", asked
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(body: bytes | str | dict[str, Any], status: str = "200 OK", *headers: str, cut: int = 0) -> Handler:
    told = json.dumps(body) if isinstance(body, dict) else body
    raw = told.encode() if isinstance(told, str) else told

    async def handle(_: Asked, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw) + cut}", *headers]
        if not any(header.startswith("Content-Type") for header in headers):
            lines.append("Content-Type: application/json")
        writer.write("\r\n".join([*lines, "", ""]).encode() + raw)
        if cut:
            writer.close()

    return handle


def result(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": value}, **more}


@asynccontextmanager
async def querier(handler: Handler, **kwargs: Any) -> AsyncIterator[tuple[RemoteQuerier, list[Asked]]]:
    async with serving(handler) as (url, asked):
        made = RemoteQuerier(url, **kwargs)
        try:
            yield made, asked
        finally:
            await made.disconnect()


# --- what is answered well

NAN = {"metric": {"__name__": "a", "x": "1"}, "value": [10, "NaN"]}
INF = {"metric": {"x": "2"}, "value": [10, "+Inf"]}
LOW = {"metric": {}, "value": [10, "-Inf"]}
TINY = {"metric": {"x": "", "y": "é"}, "value": [10, "4.9e-324"]}


async def test_a_vector_with_every_kind_of_number() -> None:
    async with querier(answering(result("vector", [NAN, INF, LOW, TINY]))) as (remote, asked):
        nan, *others = await remote.instant("a", 10.25)
        assert nan.labels == (("__name__", "a"), ("x", "1"))
        assert math.isnan(nan.value)
        assert others == [
            VectorSample((("x", "2"),), math.inf),
            VectorSample((), -math.inf),
            VectorSample((("y", "é"),), 4.9e-324),
        ]
        (request,) = asked
        assert (request.method, request.path) == ("POST", "/prometheus/api/v1/query")
        assert request.form == [
            ("query", "a"),
            ("time", "10.250"),
            ("partial_response", "false"),
            ("deny_partial_response", "1"),
            ("timeout", "30.000"),
        ]


async def test_scalars_strings_and_matrices() -> None:
    points = [[1, "1"], [2.5, "NaN"]]
    for answer, expected in [
        (result("scalar", [10, "1e3"]), Scalar(10.0, 1000.0)),
        (result("string", [10, "x"]), StringValue(10.0, "x")),
        (result("vector", []), Vector(0.0, [])),
    ]:
        async with querier(answering(answer)) as (remote, _):
            assert await remote.instant_value("x", 10) == expected
    async with querier(answering(result("matrix", [{"metric": {"a": "b"}, "values": points}]))) as (remote, _):
        matrix = await remote.instant_value("x[5m]", 10)
        assert isinstance(matrix, Matrix)
        (series,) = matrix.series
        assert series.labels == (("a", "b"),)
        np.testing.assert_array_equal(series.times, [1.0, 2.5])
        np.testing.assert_array_equal(series.values, [1.0, math.nan])
    async with querier(answering(result("scalar", [10, "7"]))) as (remote, _):
        assert await remote.instant("7", 10) == [VectorSample((), 7.0)]
    async with querier(answering(result("matrix", []))) as (remote, _):
        with pytest.raises(QueryFailed, match="must yield an instant vector or a scalar"):
            await remote.instant("x[5m]", 10)


async def test_answers_for_the_api_pass_through_cut_to_the_limit_with_their_warnings() -> None:
    told = result(
        "vector", [NAN, INF, LOW], warnings=["PromQL warning: odd"], infos=["PromQL info: hm"], stats={"a": 1}
    )
    async with querier(answering(told)) as (remote, asked):
        whole = await remote.instant_json("a", 10)
        assert json.loads(whole.data) == told["data"]
        assert (whole.warnings, whole.infos) == (("PromQL warning: odd",), ("PromQL info: hm",))
        cut = await remote.range_json("a", 1, 2, 0.5, limit=2, timeout_s=3)
        assert json.loads(cut.data) == {"resultType": "vector", "result": [NAN, INF]}
        assert cut.warnings[-1] == "results truncated due to limit"
        assert asked[1].path == "/prometheus/api/v1/query_range"
        form = dict(asked[1].form)
        assert {**form, "timeout": ""} == {
            "query": "a", "start": "1.000", "end": "2.000", "step": "0.500", "limit": "2", "timeout": ""
        }  # fmt: skip
        assert 0 < float(form["timeout"]) <= 3
    partial = result("vector", [], isPartial=True)
    async with querier(answering(partial)) as (remote, _):
        (warning,) = (await remote.instant_json("a", 10)).warnings
        assert warning.endswith("/prometheus answered with part of the data only")


async def test_what_describes_series() -> None:
    one, two = {"__name__": "b", "x": "1"}, {"__name__": "a"}
    async with querier(answering({"status": "success", "data": [one, two]})) as (remote, asked):
        assert await remote.series(["a", "b"], 1, None) == [two, one]
        assert asked[0].form == [("match[]", "a"), ("match[]", "b"), ("start", "1.000")]
        with pytest.raises(QueryError, match="no match"):
            await remote.series([], None, None)
    async with querier(answering({"status": "success", "data": ["b", "a"]})) as (remote, asked):
        assert await remote.label_names([], None, 2.5) == ["a", "b"]
        assert await remote.label_values("job", ["up"], None, None) == ["a", "b"]
        assert await remote.label_values("a.b_c", [], None, None) == ["a", "b"]
        assert [(a.method, a.path.removeprefix("/prometheus/api/v1/"), a.form) for a in asked] == [
            ("POST", "labels", [("end", "2.500")]),
            ("GET", "label/job/values", [("match[]", "up")]),
            ("GET", "label/U__a_2e_b__c/values", []),
        ]
    told = {"b": [{"type": "gauge", "help": "B", "unit": ""}], "a": [{"type": "counter", "help": "A", "unit": ""}]}
    async with querier(answering({"status": "success", "data": told})) as (remote, asked):
        assert await remote.metadata("", 1) == {"a": told["a"]}
        assert asked[0].form == [("limit", "1")]
        assert await remote.metadata("b", -1) == dict(sorted(told.items()))
        assert asked[1].form == [("metric", "b")]
    for nothing in ({"status": "success", "data": None}, {"status": "success"}):
        async with querier(answering(nothing)) as (remote, _):
            assert await remote.label_names([], None, None) == []
            assert await remote.metadata("", -1) == {}


async def test_credentials_and_headers_are_sent_and_connections_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METRICS_TOKEN", SECRET)
    auth, headers = Auth(credentials_env="METRICS_TOKEN"), {"X-Scope-OrgID": "team-a"}
    connections = []

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        await answering(result("vector", []))(asked, writer)

    async with querier(handle, auth=auth, headers=headers) as (remote, asked):
        for _ in range(3):
            assert await remote.instant("a", 1) == []
        assert asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert asked[0].headers["x-scope-orgid"] == "team-a"
        assert len(set(connections)) == 1


async def test_a_kept_connection_that_the_server_ended_is_no_failure() -> None:
    async with serving(answering(result("vector", [])), closing=True) as (url, asked):
        remote = RemoteQuerier(url)
        for _ in range(5):
            assert await remote.instant("a", 1) == []
        assert len(asked) == 5
        await remote.disconnect()


# --- what fails

HTML = ("<html>Sign in</html>", "200 OK", "Content-Type: text/html; charset=utf-8")
WRONG = {"status": "error", "errorType": "bad_data", "error": 'invalid parameter "query": 1:4: parse error: no'}
FLOOD = b'{"status":"success","data":{"resultType":"vector","result":[' + b" " * 4096


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        (answering(WRONG, "400 Bad Request"), "bad_data", 'invalid parameter "query": 1:4: parse error: no'),
        (
            answering({"status": "error", "errorType": "execution", "error": "too many"}, "422 Unprocessable Entity"),
            "execution",
            "failed the query (422): too many",
        ),
        (
            answering({"status": "error", "errorType": "422", "error": "cannot"}, "422 Unprocessable Entity"),
            "execution",
            "failed the query (422): cannot",
        ),
        (answering({"status": "error", "errorType": "timeout", "error": "slow"}, "503 X"), "timeout", "(503): slow"),
        (answering("upstream timed out", "504 Gateway Timeout"), "timeout", "failed the query (504)"),
        (answering("oops", "500 Internal Server Error"), "execution", "failed the query (500)"),
        (answering("", "401 Unauthorized"), "execution", "refuses our credentials (401); see metrics.query.authoriz"),
        (answering("no org id", "403 Forbidden"), "execution", "refuses our credentials (403); see metrics.query"),
        (
            answering("404 page not found", "404 Not Found"),
            "execution",
            "no Prometheus API there (404); metrics.query_",
        ),
        (answering("", "429 Too Many Requests"), "execution", "too many queries to answer (429); try again later"),
        (
            answering("", "302 Found", f"Location: https://login.example/?{SECRET}"),
            "execution",
            "redirects to host login.example (302); set metrics.query_url to the final address",
        ),
        (answering(*HTML), "execution", "answered a web page, not the API's JSON; metrics.query_url must be"),
        (answering('{"status":"success","data":{"resultType":"vec'), "execution", "with what is no Prometheus API's"),
        (answering(b"\xff\xfe"), "execution", "with what is no Prometheus API's JSON"),
        (answering("[1, 2]"), "execution", "with what is no Prometheus API's JSON: expected '{'"),
        (answering({"status": "success"}), "execution", "has no data"),
        (answering({"data": {}}), "execution", "no Prometheus API's JSON: data is no result"),
        (answering(result("vector", [{"metric": {}}])), "execution", "an element of the result has another shape"),
        (answering(result("vector", [{"metric": {}, "value": [1, 2]}])), "execution", "a value is no number"),
        (answering(result("vector", [{"metric": {}, "value": [1, "1_0"]}])), "execution", "a value is no number"),
        (answering(result("vector", [{"metric": {}, "value": [1, "x"]}])), "execution", "could not convert"),
        (
            answering(result("vector", [{"metric": {}, "histogram": [1, {}]}])),
            "execution",
            "holds a native histogram, which is not supported here",
        ),
        (answering(result("vector", [], warnings=["store 3 is away"])), "execution", "part of the data only: store 3"),
        (answering(result("vector", [], isPartial=True)), "execution", "part of the data only: some of its storage"),
        (
            answering(result("vector", []), cut=10),
            "execution",
            "closed in the middle of the body; see metrics.query_url",
        ),
        (answering(gzip.compress(b" " * 2**21), "200 OK", "Content-Encoding: gzip"), "execution", "more than the"),
        (answering("x", "200 OK", "Content-Encoding: br"), "execution", "was not requested"),
    ],
)
async def test_each_failure_says_what_it_is(
    handler: Handler, kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_querier, "MAX_REPLY_BYTES", 2**20)
    monkeypatch.setenv("METRICS_TOKEN", SECRET)
    async with querier(handler, auth=Auth(credentials_env="METRICS_TOKEN")) as (remote, _):
        with pytest.raises(QueryError) as caught:
            await remote.instant_value("a", 1)
        assert caught.value.kind == kind
        assert message in str(caught.value)
        assert SECRET not in str(caught.value)
        assert kind == "bad_data" or "http://127.0.0.1:" in str(caught.value)
        with pytest.raises(QueryFailed, match=kind):
            await remote.instant("a", 1)


async def test_a_warning_about_the_query_itself_is_no_failure() -> None:
    told = result("vector", [LOW], warnings=["PromQL warning: quantile value should be between 0 and 1"])
    async with querier(answering(told)) as (remote, _):
        assert await remote.instant("a", 1) == [VectorSample((), -math.inf)]


async def test_a_server_that_floods_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_querier, "MAX_REPLY_BYTES", 2**20)

    async def flood(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(FLOOD)
            await writer.drain()

    async with querier(flood) as (remote, _):
        with pytest.raises(QueryError, match="more than the 1048576 bytes allowed"):
            await remote.instant_json("a", 1)


async def test_a_server_that_hangs_runs_into_the_deadline() -> None:
    async def hang(_: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with querier(hang, timeout_s=0.05) as (remote, _):
        for call in (remote.instant_value("a", 1), remote.label_names([], None, None)):
            with pytest.raises(QueryError, match="did not answer within") as caught:
                await call
            assert caught.value.kind == "timeout"


async def test_rules_do_not_wait_one_after_the_other_for_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    well = False

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if not well:
            await asyncio.Event().wait()
        await answering(result("vector", []))(asked, writer)

    async with querier(handle, timeout_s=1.0) as (remote, asked):
        told = []
        for _ in range(30):
            with pytest.raises(QueryFailed) as caught:
                await remote.instant("rule", 1)
            told.append(str(caught.value))
        assert [request.form[0][1] for request in asked] == ["rule", "vector(1)"]
        assert all("timeout: " in text and "did not answer within 1s" in text for text in told)
        assert told[-1].endswith("(not asked again for 10s)")
        well = True
        monkeypatch.setattr(remote, "_timeout_s", HANG_S)
        with pytest.raises(QueryFailed):
            await remote.instant("rule", 1)
        monkeypatch.setattr(remote, "_rest_until", 0.0)
        assert await remote.instant("rule", 1) == []
        assert await remote.instant("rule", 1) == []
        assert [request.form[0][1] for request in asked[2:]] == ["vector(1)", "rule", "rule"]


async def test_one_slow_query_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.form[0][1] == "slow":
            await asyncio.Event().wait()
        await answering(result("vector", []))(asked, writer)

    async with querier(handle) as (remote, asked):
        for _ in range(2):
            monkeypatch.setattr(remote, "_timeout_s", 1.0)
            with pytest.raises(QueryFailed, match="did not answer within"):
                await remote.instant("slow", 1)
            monkeypatch.setattr(remote, "_timeout_s", HANG_S)
            assert await remote.instant("quick", 1) == []
        assert [request.form[0][1] for request in asked] == ["slow", "vector(1)", "quick"] * 2


async def test_a_crowd_of_queries_waits_for_its_turn_and_no_rule_waits_with_it() -> None:
    free = asyncio.Event()
    held: list[Asked] = []

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.form[0][1] == "slow":
            held.append(asked)
            await free.wait()
        await answering(result("vector", []))(asked, writer)

    async with querier(handle) as (remote, _):
        each = remote_querier.ADHOC_AT_ONCE // 2
        crowd = [asyncio.create_task(remote.instant_json("slow", 1, asker="a")) for _ in range(each)]
        async with asyncio.timeout(HANG_S):
            while len(held) < each:  # noqa: ASYNC110 - an outside observer has no event
                await asyncio.sleep(0.001)
        with pytest.raises(QueryError, match=r"behind others that http.* has not answered"):
            await remote.instant_json("one more", 1, timeout_s=0.01, asker="a")
        assert (await remote.instant_json("another's", 1, asker="b")).warnings == ()
        assert await remote.instant("rule", 1) == []
        assert (await remote.instant_value("the console's", 1)).to_prometheus_json()["result"] == []
        free.set()
        await asyncio.gather(*crowd)
        assert (await remote.instant_json("one more", 1, asker="a")).warnings == ()


async def test_nobody_listens_and_nobody_resolves() -> None:
    async with serving(answering("")) as (url, _):
        gone = url
    for address, why in [(gone, "cannot be reached: connection refused"), ("http://no.invalid", "no such host")]:
        remote = RemoteQuerier(address)
        with pytest.raises(QueryError, match=why):
            await remote.instant_value("a", 1)
        await remote.disconnect()


async def test_a_secret_that_cannot_be_read_is_named() -> None:
    async with querier(answering(""), auth=Auth(credentials_file="/nowhere/token")) as (remote, asked):
        with pytest.raises(QueryError, match=r"cannot read the credentials file /nowhere/token"):
            await remote.instant_value("a", 1)
        assert asked == []


async def test_a_check_remembers_the_fault_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    well = True

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        reply = answering(result("vector", [])) if well else answering("", "401 Unauthorized")
        await reply(asked, writer)

    caplog.set_level(logging.INFO)
    async with querier(handle) as (remote, _):
        await remote.check()
        assert remote.fault == ""
        well = False
        await remote.check()
        await remote.check()
        assert "refuses our credentials (401)" in remote.fault
        well = True
        await remote.check()
        assert remote.fault == ""
    assert [r.levelname for r in caplog.records if r.name == remote_querier.__name__] == ["ERROR", "INFO"]


async def test_a_closed_querier_asks_nothing() -> None:
    async with querier(answering("")) as (remote, asked):
        remote.close()
        with pytest.raises(QueryError, match="is stopping"):
            await remote.instant_json("a", 1)
        assert asked == []


async def test_nonsense_in_lists_is_an_error() -> None:
    async with querier(answering({"status": "success", "data": [{"a": 1}]})) as (remote, _):
        with pytest.raises(QueryError, match="series of another shape"):
            await remote.series(["a"], None, None)
    async with querier(answering({"status": "success", "data": {"a": 3}})) as (remote, _):
        with pytest.raises(QueryError, match="metadata has another shape"):
            await remote.metadata("", -1)
        with pytest.raises(QueryError, match="no Prometheus API's JSON"):
            await remote.label_names([], None, None)


async def test_a_compressed_answer_is_inflated() -> None:
    body = gzip.compress(json.dumps(result("vector", [LOW])).encode())
    async with querier(answering(body, "200 OK", "Content-Encoding: gzip")) as (remote, asked):
        assert await remote.instant("a", 1) == [VectorSample((), -math.inf)]
        assert asked[0].headers["accept-encoding"] == "gzip"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", "NaN", "x", "vector", "success"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "resultType", "result", "metric", "value", "values"]), inner
        )
    ),
    max_leaves=8,
)
ELEMENT = st.fixed_dictionaries({"metric": ANYTHING, "value": ANYTHING, "values": ANYTHING}) | ANYTHING
SHAPED = st.fixed_dictionaries(
    {"status": st.sampled_from(["success", "error", "?", 1])},
    optional={
        "data": ANYTHING
        | st.fixed_dictionaries(
            {
                "resultType": st.sampled_from(["vector", "matrix", "scalar", "string", "odd", None]),
                "result": st.lists(ELEMENT, max_size=3) | ANYTHING,
            }
        ),
        "errorType": ANYTHING,
        "error": ANYTHING,
        "warnings": ANYTHING,
        "infos": ANYTHING,
        "isPartial": ANYTHING,
    },
)


@settings(max_examples=500)
@given(ANYTHING | SHAPED | SHAPED | SHAPED, st.sampled_from([200, 204, 302, 400, 422, 503, 799]), st.integers(0, 40))
@example({"status": "success", "data": [], "warnings": 1}, 200, 40)
@example({"status": "success", "data": {"resultType": "scalar", "result": [10**400, "1"]}}, 200, 40)
def test_no_answer_raises_anything_but_typed_errors(told: Any, status: int, cut: int) -> None:
    text = json.dumps(told)
    body = (text[: len(text) - cut] if cut < 20 else text).encode()
    reply = Reply(status, "application/json", body)

    async def ask() -> None:
        remote = RemoteQuerier("http://x")

        async def request(*_: Any, **__: Any) -> Reply:
            return reply

        remote._client.request = request  # type: ignore[method-assign]
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: remote.instant("a", 1),
            lambda: remote.instant_value("a", 1),
            lambda: remote.instant_json("a", 1, limit=1),
            lambda: remote.series(["a"], None, None),
            lambda: remote.label_names([], None, None),
            lambda: remote.metadata("", -1),
        ]
        for call in calls:
            try:
                await call()
            except (QueryError, QueryFailed):
                continue

    asyncio.run(ask())


async def test_queries_that_wait_when_the_end_comes_are_told_so_at_once() -> None:
    async def hang(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(hang) as (url, asked):
        remote = RemoteQuerier(url, None, {}, 30.0)
        waiting = [asyncio.create_task(remote.instant_json("up", 0)) for _ in range(3)]
        rule = asyncio.create_task(remote.instant("up", 0))
        cancelled = asyncio.create_task(remote.instant_json("up", 0))
        while len(asked) < 5:  # noqa: ASYNC110 - the server has no event for "asked five times"
            await asyncio.sleep(0)
        cancelled.cancel()
        remote.refuse()
        answers = await asyncio.gather(*waiting, rule, cancelled, return_exceptions=True)
        assert [str(answer) for answer in answers[:3]] == ["the control plane is stopping"] * 3
        assert isinstance(answers[3], QueryFailed)
        assert isinstance(answers[4], asyncio.CancelledError)
        await remote.disconnect()
