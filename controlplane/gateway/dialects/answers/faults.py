"""An engine's error, in whichever shape it comes, and the refusal that it would have been as a status.

Shapes: OpenAI and llama-server {"error": {"message", "type", "code"}}, SGLang {"object": "error", "message", "code"},
TGI {"error": "…", "error_type": "…"}, Triton and Ollama {"error": "…"}, Anthropic {"type": "error", "error": {…}},
FastChat {"text": "…", "error_code": 50001}, FastAPI {"detail": …}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.gateway.refusal import Refusal, RefusalKind

LONGEST_MESSAGE = 500
"""Most characters of an engine's words that are kept. Chosen."""
_KINDS = {
    400: RefusalKind.MALFORMED,
    401: RefusalKind.UPSTREAM_FAILED,
    403: RefusalKind.UPSTREAM_FAILED,
    407: RefusalKind.UPSTREAM_FAILED,
    404: RefusalKind.MALFORMED,
    413: RefusalKind.MALFORMED,
    422: RefusalKind.MALFORMED,
    429: RefusalKind.OVERLOADED,
    503: RefusalKind.NO_CAPACITY,
    529: RefusalKind.NO_CAPACITY,
}
"""Kinds by the error's status. 401 and its like concern the gateway's own credentials at the engine."""
_STATUS_OF_WORD = (
    ("authentic", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("overload", 503),
    ("unavailable", 503),
    ("rate_limit", 429),
    ("queue", 503),
    ("validation", 422),
    ("invalid", 400),
    ("badrequest", 400),
    ("not_found", 404),
    ("notfound", 404),
)
"""Words in the type of an error, in lower case: `overloaded_error` (Anthropic), `BadRequestError` (vLLM)."""
_UNAUTHORIZED = (401, 403, 407)
REFUSED = "The engine refuses the gateway's credentials"
"""The message of such an error. The client's own key was good, so the engine's words would mislead it."""
NO_EVENT = "The engine sent an event that is no JSON object"
"""The message of a stream with such an event: clients end with a fault of their parser there, or pass it over."""
ABORTED = "The engine aborted the request"
"""vLLM ends streams so when it gets SIGTERM: finish_reason "abort", then [DONE], under status 200."""


OURS = (REFUSED, NO_EVENT, ABORTED)
"""Messages in the gateway's words. The engine's event does not say so."""


class Fault(NamedTuple):
    """An engine's error."""

    message: str
    status: int
    """Status that the error has, or should have had. 500 when it says nothing of it."""
    nested: bool
    """Whether it is an object `error` with a message, which clients of OpenAI and Anthropic look for."""
    detail: str = ""
    """The engine's own words where `message` has others."""


def find(document: object) -> Fault | None:
    """Return the error that a document is, or None when it is none."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if isinstance(error, dict) and error:
        return _fault(error, document, nested=isinstance(error.get("message"), str))
    if isinstance(error, str) and error:
        return _fault({"message": error, "type": document.get("error_type")}, document, nested=False)
    if document.get("object") == "error" or document.get("type") == "error":
        return _fault(document, document, nested=False)
    if document.get("type") == "response.failed":
        response = document.get("response")
        failed = response.get("error") if isinstance(response, dict) else None
        return _fault(failed if isinstance(failed, dict) else {}, document, nested=True)
    code = document.get("error_code")
    if isinstance(code, int) and code > 0:
        return _fault({"message": document.get("text") or document.get("message")}, document, nested=False)
    return None


def of_status(document: object, status: int) -> str:
    """Return the words of an answer with an error status."""
    found = find(document)
    if found is not None:
        return found.message
    detail = document.get("detail") if isinstance(document, dict) else None
    if isinstance(detail, str) and detail:
        return _short(detail)
    return f"The engine answered with status {status}"


def refusal(fault: Fault) -> Refusal:
    """Return the refusal that a client gets for an error under status 200, before anything else was sent."""
    kind = _KINDS.get(fault.status, RefusalKind.MALFORMED if 400 <= fault.status < 500 else RefusalKind.UPSTREAM_FAILED)
    return Refusal(kind, fault.message, code="engine_error", detail=fault.detail)


def _fault(error: Mapping[str, object], document: Mapping[str, object], *, nested: bool) -> Fault:
    message = error.get("message")
    words = message if isinstance(message, str) and message else "The engine answered with an error"
    status = _status(error, document)
    if status in _UNAUTHORIZED:
        return Fault(REFUSED, status, nested, _short(words))
    return Fault(_short(words), status, nested)


def _status(error: Mapping[str, object], document: Mapping[str, object]) -> int:
    for code in (error.get("code"), error.get("status_code"), document.get("code"), document.get("error_code")):
        if isinstance(code, str) and code.isdigit() and len(code) == 3:
            code = int(code)
        if isinstance(code, int) and 40_000 <= code < 60_000:
            # FastChat: a status and two digits of its own. 403 is an unknown model, or a prompt that is too long.
            code = 400 if code // 100 == 403 else code // 100
        if isinstance(code, int) and 400 <= code < 600:
            return code
    words = f"{error.get('type')} {error.get('code')}".lower()
    return next((status for word, status in _STATUS_OF_WORD if word in words), 500)


def _short(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
