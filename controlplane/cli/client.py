"""The CLI's view of the control plane: HTTP, and nothing of the server's code."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from controlplane.cli.errors import CliError, Unreachable, VerdictNegative, WrongUsage
from controlplane.config.context import contexts_path, read_contexts
from controlplane.errors import ConfigError

TIMEOUT_S = 30.0
ATTEMPTS = 3
"""Tries of a request whose connection failed. A POST repeats with its Idempotency-Key, so it acts once."""


class Client:
    """Speaks JSON with one control plane. Use as a context manager."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        token = token.strip()
        if token and not re.fullmatch(r"[!-~]+", token):
            # The HTTP library would quote it in its refusal, and the secret would end up in somebody's log.
            raise WrongUsage("the token holds a blank, a line break or another character that no token has")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport)
        except (httpx.InvalidURL, ValueError) as error:
            raise WrongUsage(f"{url!r} is not an address of a control plane: {error}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | float | None) -> Any:
        """Return the JSON of a GET. Raises CliError."""
        return self._request("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a POST that carries an idempotency key. Raises CliError."""
        return self._request("POST", path, json=dict(body or {}), headers={"Idempotency-Key": str(uuid.uuid4())})

    def delete(self, path: str) -> Any:
        """Return the JSON of a DELETE, or None. Raises CliError."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._http.request(method, path, **options)
                return _body(answer)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise WrongUsage(f"{self.url!r} is not an address of a control plane: {error}") from error
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    detail = str(error) or type(error).__name__
                    raise Unreachable(
                        f"could not reach the control plane at {self.url}: {detail}",
                        ("is it running? Start one with `controlplane up -c fleet.yaml` or `controlplane demo`",),
                    ) from error
        raise AssertionError("unreachable")


def _body(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json() if answer.content else None
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    # Prometheus's API says `error`, ours says `detail`.
    message = str(problem.get("detail") or problem.get("error") or f"{answer.status_code} {answer.reason_phrase}")
    reasons = tuple(str(r) for r in problem.get("reasons", []))
    if message == "; ".join(reasons):  # one after another below, and not in one line as well
        message, reasons = (reasons[0], ()) if len(reasons) == 1 else (problem.get("title") or "refused", reasons)
    match answer.status_code:
        case 401:
            hint = "set CP_TOKEN, or run the demo, which writes a context"
            raise VerdictNegative(f"the control plane does not accept this token: {message}", (hint,))
        case 400 | 404 | 405 | 413 | 422:
            raise WrongUsage(message, reasons)
        case 502 | 503 | 504:
            raise Unreachable(message, reasons)
        case _:
            raise VerdictNegative(message, reasons)


def connect(url: str | None, environment: Mapping[str, str] = os.environ) -> Client:
    """Return a client for `--url`, else CP_URL, else the current context; the token likewise from CP_TOKEN first.

    A context's token goes only to that context's own address. Raises WrongUsage where there is no address.
    """
    try:
        context = read_contexts(contexts_path(environment)).active
    except ConfigError as error:
        raise WrongUsage(str(error)) from error
    address = url or environment.get("CP_URL") or (context.url if context else "")
    if not address:
        raise WrongUsage(
            "which control plane? No --url, no CP_URL, and no context",
            ("start one with `make demo`, or point CP_URL and CP_TOKEN at a running one",),
        )
    token = environment.get("CP_TOKEN", "")
    if not token and context and address.rstrip("/") == context.url.rstrip("/"):
        token = context.token
    return Client(address, token)


__all__ = ["CliError", "Client", "connect"]
