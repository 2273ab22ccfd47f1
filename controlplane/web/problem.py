"""The HTML page that a browser gets instead of a problem document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import Response

from controlplane.api.problems import RETRY_AFTER_S, Problem
from controlplane.web.languages import noted
from controlplane.web.render import Renderer

TITLES = (
    noted("Bad Request"),
    noted("Not Found"),
    noted("Not found"),
    noted("Its state does not allow this"),
    noted("Refused; nothing was changed"),
    noted("Too many attempts"),
    noted("A valid token is needed"),
    noted("The caller may not do this"),
    noted("A dependency cannot be reached now"),
    noted("Stored data cannot be read"),
    noted("The configuration is wrong"),
    noted("The request cannot be read"),
    noted("The query failed"),
    noted("The control plane failed"),
)
"""Titles of the problems that a browser meets."""


class ProblemPage:
    """Renders problems. It reads nothing but the problem, because the database itself may be unreachable."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def __call__(
        self, request: Request, problem: Problem, detail: str, reasons: Sequence[str], headers: Mapping[str, str]
    ) -> Response:
        """Return the page, with the problem's status and headers."""
        answer = self._render.page(
            request,
            "problem.html",
            problem.status,
            title=problem.title,
            detail=detail,
            reasons=reasons,
            retry_after=RETRY_AFTER_S,
        )
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
        answer.headers.update(headers)
        return answer
