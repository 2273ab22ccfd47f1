"""Engines with OpenAI's API: readiness, the models that a server serves, and the judgement of its answers.

Status 200 is not enough: engines send an error, and then `[DONE]`, in a stream that began with 200.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from collectors.probe.protocol import BadAnswer, EventStream
from collectors.target import Auth
from controlplane.traffic.driver import Question, ServerReply, VersionState
from controlplane.traffic.engine_server import EngineServer
from controlplane.traffic.engines.first_token import first_token_s
from controlplane.traffic.engines.judging import fault_of, json_values
from controlplane.traffic.words import told

SHOWN = 5
"""Maximum number of model names in a sentence. Chosen."""


class OpenAiApi:
    """One server of one version. Methods raise NotSent and Unavailable."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, timeout_s: float = 5.0, auth: Auth | None = None
    ) -> None:
        self._url, self._server = url.rstrip("/"), EngineServer(url, session, timeout_s, auth)

    async def state(self, served: str) -> tuple[VersionState, str]:
        """Return the state of a served model, and the reason where it is not ready.

        A server that lists no models at all counts as ready when its `/health` does.
        """
        status, _ = await self._server.call("GET", "/health")
        if status == 503:
            return VersionState.LOADING, f"{self._url}/health answers 503"
        if status not in (200, 404):  # some servers have no /health, and their list of models is the only sign
            return VersionState.UNAVAILABLE, f"{self._url}/health answers {status}"
        listed, body = await self._server.call("GET", "/v1/models")
        names = _names(body) if listed == 200 else None
        if names is None and status == 404:
            return VersionState.UNAVAILABLE, f"{self._url} has neither /health nor /v1/models (it answers {listed})"
        if names and served not in names:
            shown = ", ".join(names[:SHOWN])
            return VersionState.UNAVAILABLE, f"{self._url} serves {shown} and not {served}; set model: of the version"
        return VersionState.READY, ""

    async def ask(self, served: str, question: Question) -> ServerReply:
        """Post a question and return the reply with its fault."""
        body = {**question.body, "model": served}
        reply = await self._server.ask(f"/v1/{question.path}", body, question.timeout_s)
        found = fault(question, reply.status, reply.body)
        return ServerReply(self._url, found, reply.seconds, first_token_s(reply, _has_output), reply.body, reply.status)


def fault(question: Question, status: int, body: bytes) -> str:
    """Return the fault of an answer, in the engine's words if there are any; "" for a good answer."""
    messages, ended = _messages(body)
    words = next((found for message in messages if (found := _error_in(message))), "")
    if found := fault_of(question, status, words, has_output=any(map(_has_output, messages))):
        return found
    return "" if ended or status != 200 else "its stream ended without [DONE] or a finish_reason"


def _names(body: bytes) -> list[str] | None:
    """Return the names in a list of models, or None when it is none."""
    try:
        listed = json.loads(body)["data"]
        return [told(str(model["id"])) for model in listed]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _messages(body: bytes) -> tuple[list[Any], bool]:
    """Return the JSON values of an answer, and whether it came to its end."""
    if not body.lstrip().startswith((b"data:", b"event:", b":")):
        return json_values([body.decode("utf-8", "replace")]), True
    try:
        texts = EventStream().feed(body + b"\n\n")
    except BadAnswer:
        return [], False
    found = json_values(texts)
    done = any(text.strip() == "[DONE]" for text in texts)
    return found, done or any(_is_finished(message) for message in found)


def _choices(message: Any) -> list[dict[str, Any]]:
    choices = message.get("choices") if isinstance(message, dict) else None
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _is_finished(message: Any) -> bool:
    return any(choice.get("finish_reason") for choice in _choices(message))


def _has_output(message: Any) -> bool:
    """Return whether a message has text, reasoning, a tool call, an embedding or a score."""
    if isinstance(message, dict) and any(message.get(name) for name in ("data", "results", "output")):
        return True
    for choice in _choices(message):
        part = choice.get("delta") or choice.get("message") or {}
        texts = [choice.get("text")]
        if isinstance(part, dict):
            texts += [part.get(name) for name in ("content", "reasoning_content", "reasoning", "tool_calls", "refusal")]
        if any(texts):
            return True
    return False


def _error_in(message: Any) -> str:
    """Return the message of an error of OpenAI's, SGLang's or TGI's shape on one line; "" for any other JSON."""
    if not isinstance(message, dict):
        return ""
    error = message.get("error")
    if error is None and message.get("object") == "error":
        error = message
    words = error.get("message") if isinstance(error, dict) else error
    if error and not isinstance(words, str):
        return told(json.dumps(error))
    return told(words)[:300] if isinstance(words, str) else ""
