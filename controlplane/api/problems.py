"""Errors as HTTP answers: a table of statuses by error, and one document format for each dialect.

Errors below `/api/v1/` have Prometheus's format, those below `/api/v2/` Alertmanager's. All others are problem
documents of RFC 9457.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from alerts.errors import DeliveryFailed
from controlplane import errors
from controlplane.access.roles import Role
from controlplane.access.throttle import Throttled
from controlplane.api.auth import authorize, methods_of
from controlplane.api.openapi import ALERTMANAGER_PREFIX, PROMETHEUS_PREFIX
from controlplane.config.wording import choice

_log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """One row of the table. `word` is the stable part of the problem's type."""

    status: int
    word: str
    title: str


TABLE: dict[type[Exception], Problem] = {
    errors.NotFound: Problem(404, "not-found", "Not found"),
    errors.Conflict: Problem(409, "conflict", "Its state does not allow this"),
    errors.Refused: Problem(409, "refused", "Refused; nothing was changed"),
    Throttled: Problem(429, "throttled", "Too many attempts"),
    errors.Unauthenticated: Problem(401, "unauthenticated", "A valid token is needed"),
    errors.Forbidden: Problem(403, "forbidden", "The caller may not do this"),
    errors.Unavailable: Problem(503, "unavailable", "A dependency cannot be reached now"),
    errors.NotStorable: Problem(422, "not-storable", "This text cannot be stored"),
    errors.Unreadable: Problem(500, "unreadable", "Stored data cannot be read"),
    errors.LeaseLost: Problem(503, "lease-lost", "Another process took over; nothing was written"),
    errors.ConfigError: Problem(422, "bad-configuration", "The configuration is wrong"),
    errors.ConfigErrors: Problem(422, "bad-configuration", "The configuration is wrong"),
    errors.MalformedRequest: Problem(400, "bad-request", "The request cannot be read"),
    errors.TooLarge: Problem(413, "too-large", "The request exceeds a limit"),
    errors.TooSlow: Problem(408, "too-slow", "The request was not complete in time"),
    errors.QueryError: Problem(422, "query-failed", "The query failed"),
    DeliveryFailed: Problem(502, "not-delivered", "The notifier could not deliver"),
    errors.ControlPlaneError: Problem(500, "failed", "The control plane failed"),
}
"""The nearest class in an error's hierarchy counts, so a subclass needs no row of its own."""

QUERY_STATUS = {
    "bad_data": 400,
    "execution": 422,
    "canceled": 499,
    "timeout": 503,
    "unavailable": 503,
    "too_many_requests": 429,
}
"""Prometheus's status for each of its error types. `too_many_requests` is an error type of Mimir."""

RETRY_AFTER_S = 5
"""Retry-After of every 503, and of a 429 without a time of its own, in seconds. Chosen: retries must not pile up while
a database fails over."""

_WORDS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 421: "wrong-host"}
_PROMETHEUS_TYPES = {400: "bad_data", 401: "unauthorized", 403: "forbidden", 404: "not_found", 503: "unavailable"}


ProblemPage = Callable[[Request, Problem, str, Sequence[str], Mapping[str, str]], Response]
"""Renders request, problem, detail, reasons and headers as an HTML page. The app's `state.problem_page` holds it."""


def problem_of(error: Exception) -> Problem:
    """Return the table's row for an error."""
    row = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), TABLE[errors.ControlPlaneError])
    if isinstance(error, errors.QueryError):
        return row._replace(status=QUERY_STATUS.get(error.kind, row.status))
    return row


def headers_of(error: Exception) -> dict[str, str]:
    """Return the headers that every answer with this error must have."""
    if isinstance(error, Throttled):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    if problem_of(error).status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="controlplane"'}
    return {}


def problem_response(
    path: str,
    problem: Problem,
    detail: str,
    *,
    reasons: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    prometheus_type: str | None = None,
) -> Response:
    """Return a problem in the format of `path`."""
    headers = dict(headers or {})
    if problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    if path.startswith(PROMETHEUS_PREFIX):
        kind = prometheus_type or _PROMETHEUS_TYPES.get(problem.status, "internal" if problem.status >= 500 else "")
        body: dict[str, object] = {"status": "error", "errorType": kind or "bad_data", "error": detail}
        return JSONResponse(body, problem.status, headers)
    if path.startswith(ALERTMANAGER_PREFIX):
        return JSONResponse(detail, problem.status, headers)
    body = {
        "type": f"urn:controlplane:problem:{problem.word}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "reasons": list(reasons),
    }
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def bad_request(path: str, status: int, detail: str) -> Response:
    """Return the refusal of a request that is wrong in itself, such as one that is too long."""
    return problem_response(path, Problem(status, _WORDS.get(status, "bad-request"), _title(status)), detail)


def install(app: FastAPI) -> None:
    """Register the handlers that turn every exception into a problem. `mount_web` adds the HTML pages for people."""
    app.state.sign_in_path = app.state.problem_page = None
    app.add_exception_handler(errors.ControlPlaneError, _on_ours)
    app.add_exception_handler(DeliveryFailed, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_ours(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == HTTPStatus.UNAUTHORIZED and (redirect := _to_sign_in(request)) is not None:
        return redirect
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s %s: %s", request.method, request.url.path, error, exc_info=error)
    prometheus_type = error.kind if isinstance(error, errors.QueryError) else None
    return _answer(
        request,
        problem,
        str(error),
        reasons=_reasons(error),
        headers=headers_of(error),
        prometheus_type=prometheus_type,
    )


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    reasons = [_invalid(fault) for fault in error.errors()]
    problem = Problem(400, "bad-request", _title(400))
    return _answer(request, problem, "; ".join(reasons), reasons=reasons)


def _invalid(fault: Mapping[str, Any]) -> str:
    """Return a sentence with the name of the wrong parameter or field and what was expected."""
    where, *path = fault["loc"]
    name = ".".join(str(part) for part in path) or ("the body" if where == "body" else str(where))
    if fault["type"] == "string_pattern_mismatch":
        return f"{name}: {_form(str(fault['input']), fault['ctx']['pattern'])}"
    if fault["type"] == "literal_error":
        return f"{name}: {choice(fault)}"
    words = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {words.replace('Input should be', 'expected')}"


def _form(text: str, pattern: str) -> str:
    if r"\x00-\x1f" not in pattern:
        return f"{text[:80]!r} does not have the form {pattern}"
    # Such a pattern admits any single line. Nobody should have to read it.
    breaks = any(char < " " or char == "\x7f" for char in text)
    return "expected one line without control characters" if breaks else "expected a text that is not blank"


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code in (404, 405):
        methods, open_to_all = methods_of(request)
        if not open_to_all:
            # Only callers with a token may learn which paths exist: to others every path answers alike.
            try:
                await authorize(request, Role.VIEWER)
            except errors.ControlPlaneError as refused:
                return await _on_ours(request, refused)
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(methods))
    problem = Problem(error.status_code, _WORDS.get(error.status_code, "http"), _title(error.status_code))
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(request, problem, detail, headers=headers)


async def _on_unexpected(request: Request, error: Exception) -> Response:
    # A bug: the server logs the traceback, and the client gets an id to search the log for.
    incident = secrets.token_hex(4)
    _log.error("incident %s: %s %s failed", incident, request.method, request.url.path)
    problem = Problem(500, "failed", "The control plane failed")
    return _answer(request, problem, f"internal error, logged as incident {incident}")


def _answer(
    request: Request,
    problem: Problem,
    detail: str,
    *,
    reasons: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    prometheus_type: str | None = None,
) -> Response:
    """Return a problem as an HTML page for a browser, and as a document for other clients."""
    page: ProblemPage | None = request.app.state.problem_page
    if page is not None and _is_person(request):
        return page(request, problem, detail, reasons, headers or {})
    return problem_response(
        request.url.path, problem, detail, reasons=reasons, headers=headers, prometheus_type=prometheus_type
    )


def _reasons(error: Exception) -> Sequence[str]:
    if isinstance(error, errors.Refused):
        return error.reasons
    if isinstance(error, errors.ConfigErrors):
        return [str(e) for e in error.errors]
    return ()


def _to_sign_in(request: Request) -> Response | None:
    """Return a redirect to the sign-in page for a browser that loads a page; None for other requests."""
    page: str | None = request.app.state.sign_in_path
    if page is None or not _is_person(request) or request.method not in ("GET", "HEAD"):
        return None
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{page}?next={quote(target, safe='')}", status_code=303)


def _is_person(request: Request) -> bool:
    """Return whether a browser loads a page. Requests of a page's own scripts do not accept text/html."""
    api = request.url.path.startswith((PROMETHEUS_PREFIX, ALERTMANAGER_PREFIX, "/cp/", "/metrics", "/openapi.json"))
    return not api and "text/html" in request.headers.get("accept", "")


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
