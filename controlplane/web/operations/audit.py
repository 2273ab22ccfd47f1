"""The page of the audit trail. Its address holds the filters, so that a link can be shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.operations import MAX_WORD, Id
from controlplane.api.services import ServicesDep
from controlplane.config.durations import instant_seconds
from controlplane.fleet.history import ActView
from controlplane.store.audit import REFUSED, AuditFilter
from controlplane.web.csv_answer import csv_answer
from controlplane.web.render import Renderer

PATH = "/audit"
ACTS = 100
"""Number of rows on a page."""
CSV_ACTS = 10_000
"""Most rows of a CSV."""
HEADER = ("id", "at", "actor", "action", "subject", "sentence")
Typed = Annotated[str, Query(max_length=MAX_WORD)]


class Form(NamedTuple):
    """The filters as they were typed. "": no filter."""

    actor: str
    action: str
    subject: str
    since: str
    until: str
    refusals: str
    """"no" leaves out refused attempts."""

    def wanted(self, now: float) -> AuditFilter:
        """Return the filter. Raises ValueError, whose text is shown on the page, when a field is wrong."""
        for name in ("actor", "action", "subject"):
            if "\0" in getattr(self, name):
                raise ValueError(f"{name.capitalize()}: the character NUL is not allowed")
        return AuditFilter(
            actor=self.actor or None,
            actions=(self.action,) if self.action else (),
            subject=self.subject or None,
            since=_instant("From", self.since, now),
            until=_instant("Until", self.until, now),
            refusals=self.refusals != "no",
        )

    def address(self, before: int | None = None, **changed: str) -> str:
        """Return the page's address with these filters; `changed` replaces some of them."""
        given = {name: text for name, text in {**self._asdict(), **changed}.items() if text}
        query = urlencode(given | ({"before": before} if before else {}))
        return f"{PATH}?{query}" if query else PATH


def _form(
    actor: Typed = "",
    action: Typed = "",
    subject: Typed = "",
    since: Typed = "",
    until: Typed = "",
    refusals: Typed = "",
) -> Form:
    return Form(*(text.strip() for text in (actor, action, subject, since, until, refusals)))


class AuditPage:
    """The endpoint. It needs the role operator, as in the API."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.OPERATOR)
    def page(
        self,
        request: Request,
        services: ServicesDep,
        form: Annotated[Form, Depends(_form)],
        before: Id | None = None,
        format: Literal["", "csv"] = "",
    ) -> Response:
        """Show audit entries, newest first. For a wrong filter show an error and no entries."""
        if "" in request.query_params.values():  # a browser also sends empty fields
            return RedirectResponse(form.address(before, format=format), 303)
        fault, acts, older = "", list[ActView](), False
        now = services.clock.now()
        try:
            wanted = form.wanted(now)
        except ValueError as error:
            fault = str(error)
        else:
            if format == "csv":
                acts, _ = services.history.acts(wanted, CSV_ACTS, before)
                return csv_answer("audit", HEADER, ([getattr(act, name) for name in HEADER] for act in acts))
            acts, older = services.history.acts(wanted, ACTS, before)
        return self._render.page(
            request,
            "operations/audit.html",
            form=form,
            fault=fault,
            days=tuple(_by_day(acts)),
            is_refused=is_refused,
            csv=form.address(format="csv"),
            before=before,
            older=form.address(acts[-1].id) if older else "",
            filtered=form.address() != PATH,
        )


def is_refused(act: ActView) -> bool:
    """Return whether the act is an attempt that was refused."""
    return act.action == REFUSED or act.action.endswith(".refuse")


def _by_day(acts: Sequence[ActView]) -> Iterator[tuple[str, tuple[ActView, ...]]]:
    """Yield each day in UTC, as 2026-11-30, with its acts."""
    for day, found in groupby(acts, key=lambda act: act.at[:10]):
        yield day, tuple(found)


def _instant(label: str, text: str, now: float) -> float | None:
    if not text:
        return None
    try:
        return instant_seconds(text, now)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None
