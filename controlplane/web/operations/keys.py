"""The page of the gateways' API keys, and the dialogs that make, change and revoke one.

The dialogs send the same bodies as the API, and its models check them: the page has no rules of its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import ValidationError

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.gateway.keys import (
    KeyId,
    KeyLimits,
    KeyRequest,
    KeyView,
    LimitsChange,
    change_limits,
    create_key,
    revoke_key,
)
from controlplane.api.gateway.keys import key as read_key
from controlplane.api.gateway.keys import keys as read_keys
from controlplane.api.gateway.usage import KeyUsageView, usage_of_keys
from controlplane.api.services import ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.web.csv_answer import csv_answer
from controlplane.web.dialog import led_to, opened_directly
from controlplane.web.faults import faults_of
from controlplane.web.languages import noted
from controlplane.web.operations.bars import share
from controlplane.web.operations.expiry import STATES, state_of
from controlplane.web.render import Renderer

PATH = "/keys"
KEYS = 500
"""Most rows of the page. Chosen: a browser redraws so many at every change without a delay."""
Typed = Annotated[str, Form(max_length=200)]
LIMITS = {
    "requests_per_minute": noted("requests a minute"),
    "tokens_per_minute": noted("tokens a minute"),
    "concurrent": noted("open requests"),
    "daily_tokens": noted("tokens a day"),
    "monthly_tokens": noted("tokens a month"),
    "daily_usd": noted("US dollars a day"),
    "monthly_usd": noted("US dollars a month"),
}
"""Label of each limit, by its field."""


BUDGETS = {
    "daily_tokens": "day_tokens",
    "monthly_tokens": "month_tokens",
    "daily_usd": "day_usd",
    "monthly_usd": "month_usd",
}
"""The usage that each budget counts. Of the other limits only the gateways know what is used."""
HEADER = (
    *("id", "tenant", "name", "role", "models", "state", "created_at", "created_by", "expires_at", "revoked_at"),
    *("last_used_at", "day_tokens", "day_usd", "month_requests", "month_tokens", "month_usd", *LIMITS),
)
ROLES = (noted("user"), noted("tester"))


class Use(NamedTuple):
    """One limit of a key, and what is used of it."""

    label: str
    limit: float
    used: float | None
    """None: only the gateways know it."""
    share: float | None
    """Used part, 0 to 1."""
    money: bool


class Limits(NamedTuple):
    """The limits as they were typed. "": no limit."""

    requests_per_minute: str
    tokens_per_minute: str
    concurrent: str
    daily_tokens: str
    monthly_tokens: str
    daily_usd: str
    monthly_usd: str

    def values(self) -> dict[str, Any]:
        """Return the limits for the API's models. A text that is no number stays a text: they refuse it by name."""
        return {field: _number(text) for field, text in self._asdict().items()}


class KeyForm(NamedTuple):
    """A new key as it was typed. "": the default."""

    name: str
    tenant: str
    role: str
    models: str
    """Names with commas or blanks between them."""
    expires_in: str
    priority: str


def _limits(
    requests_per_minute: Typed = "",
    tokens_per_minute: Typed = "",
    concurrent: Typed = "",
    daily_tokens: Typed = "",
    monthly_tokens: Typed = "",
    daily_usd: Typed = "",
    monthly_usd: Typed = "",
) -> Limits:
    texts = requests_per_minute, tokens_per_minute, concurrent, daily_tokens, monthly_tokens, daily_usd, monthly_usd
    return Limits(*(text.strip() for text in texts))


def _form(
    name: Typed = "",
    tenant: Typed = "",
    role: Typed = "user",
    models: Annotated[str, Form(max_length=7000)] = "",
    expires_in: Typed = "",
    priority: Typed = "",
) -> KeyForm:
    return KeyForm(*(text.strip() for text in (name, tenant, role, models, expires_in, priority)))


LimitsForm = Annotated[Limits, Depends(_limits)]


class KeysPage:
    """The endpoints. Viewers may read the page; the dialogs need the role admin, as in the API."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.page)
        router.get(f"{PATH}/new")(self.ask_new)
        router.post(f"{PATH}/new")(self.create)
        router.get(f"{PATH}/{{key_id}}/limits")(self.ask_limits)
        router.post(f"{PATH}/{{key_id}}/limits")(self.change)
        router.get(f"{PATH}/{{key_id}}/revoke")(self.ask_revoke)
        router.post(f"{PATH}/{{key_id}}/revoke")(self.revoke)

    @requires(Role.VIEWER)
    def page(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, format: Literal["", "csv"] = ""
    ) -> Response:
        """Show the keys: live ones by tenant and name, and then those that open nothing any more, newest first."""
        found, now = read_keys(services).items, services.clock.now()
        live = sorted((key for key in found if key.live), key=lambda key: (key.tenant, key.name))
        used = {usage.key: usage for usage in usage_of_keys(services).items}
        states = {key.id: state_of(key, now) for key in found}
        ordered = [*live, *(key for key in found if not key.live)]
        if format == "csv":
            return csv_answer("keys", HEADER, (_row(key, states[key.id], used.get(key.id)) for key in ordered))
        shown = ordered[:KEYS]
        return self._render.page(
            request,
            "operations/keys.html",
            keys=shown,
            truncated=len(found) > KEYS,
            states=states,
            counts={word: sum(state == word for state in states.values()) for word in STATES},
            limits={key.id: uses_of(key.limits, used.get(key.id)) for key in shown},
            used=used,
            may_manage=principal.role.includes(Role.ADMIN),
        )

    @requires(Role.ADMIN)
    async def ask_new(self, request: Request) -> Response:
        """Show the form of a new key."""
        return self._dialog(request, form=_form(), limits=_limits())

    @requires(Role.ADMIN)
    async def create(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        form: Annotated[KeyForm, Depends(_form)],
        limits: LimitsForm,
    ) -> Response:
        """Make the key and show it, once; or show the form again with what is wrong."""
        try:
            wanted = KeyRequest.model_validate(
                {
                    "name": form.name,
                    "tenant": form.tenant,
                    "role": form.role,
                    "models": form.models.replace(",", " ").split() or None,
                    "limits": limits.values(),
                    "priority": _number(form.priority or "0"),
                    "expires_in": form.expires_in or None,
                }
            )
            made = await run_in_threadpool(create_key, services, principal, wanted)
        except (ValidationError, ControlPlaneError) as error:
            return self._dialog(request, form=form, limits=limits, faults=faults_of(error, LIMITS))
        return self._dialog(request, made=made)

    @requires(Role.ADMIN)
    async def ask_limits(self, request: Request, services: ServicesDep, key_id: KeyId) -> Response:
        """Show the limits of a key, to be changed."""
        key = await run_in_threadpool(read_key, services, key_id)
        return self._dialog(request, key=key, limits=_typed(key.limits))

    @requires(Role.ADMIN)
    async def change(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, key_id: KeyId, limits: LimitsForm
    ) -> Response:
        """Change the limits to those of the form; or show it again with what is wrong."""
        try:
            wanted = LimitsChange.model_validate(limits.values())
            await run_in_threadpool(change_limits, services, principal, key_id, wanted)
        except (ValidationError, ControlPlaneError) as error:
            key = await run_in_threadpool(read_key, services, key_id)
            return self._dialog(request, key=key, limits=limits, faults=faults_of(error, LIMITS))
        return led_to(PATH)

    @requires(Role.ADMIN)
    async def ask_revoke(self, request: Request, services: ServicesDep, key_id: KeyId) -> Response:
        """Ask whether to revoke a key."""
        key = await run_in_threadpool(read_key, services, key_id)
        return self._dialog(request, revoking=key)

    @requires(Role.ADMIN)
    async def revoke(self, request: Request, services: ServicesDep, principal: PrincipalDep, key_id: KeyId) -> Response:
        """Revoke the key."""
        await run_in_threadpool(revoke_key, services, principal, key_id)
        return led_to(PATH)

    def _dialog(
        self,
        request: Request,
        *,
        form: KeyForm | None = None,
        key: KeyView | None = None,
        limits: Limits | None = None,
        made: KeyView | None = None,
        revoking: KeyView | None = None,
        faults: tuple[str, ...] = (),
    ) -> Response:
        if opened := opened_directly(request, PATH):
            return opened
        return self._render.page(
            request,
            "operations/key_dialog.html",
            form=form,
            key=key,
            limits=None if limits is None else limits._asdict(),
            made=made,
            revoking=revoking,
            faults=faults,
            labels=LIMITS,
        )


def _number(text: str) -> int | float | str | None:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _typed(limits: KeyLimits) -> Limits:
    texts = {field: "" if value is None else f"{value}" for field, value in limits.model_dump().items()}
    return Limits(**texts)


def uses_of(limits: KeyLimits, usage: KeyUsageView | None) -> tuple[Use, ...]:
    """Return the limits of a key with what is used of them. A key that was never used has used nothing."""
    found = []
    for field, label in LIMITS.items():
        limit = getattr(limits, field)
        if limit is None:
            continue
        used = None
        if field in BUDGETS:
            used = 0 if usage is None else getattr(usage, BUDGETS[field])
        found.append(Use(label, limit, used, share(used, limit), field.endswith("usd")))
    return tuple(found)


def _row(key: KeyView, state: str, usage: KeyUsageView | None) -> list[Any]:
    own = {**key.model_dump(), "state": state, "models": "all" if key.models is None else " ".join(key.models)}
    of_usage = {} if usage is None else usage.model_dump(exclude={"key"})
    values = own | key.limits.model_dump() | of_usage
    return [values.get(name) for name in HEADER]
