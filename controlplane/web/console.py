"""The web console: pages rendered on the server, kept fresh by htmx and server-sent events, over the API's services."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from controlplane.api.auth import GuardedRoute
from controlplane.web.actions import Actions
from controlplane.web.pages import Pages
from controlplane.web.render import Renderer
from controlplane.web.sign_in import SIGN_IN, SignIn

HERE = Path(__file__).parent

__all__ = ["SIGN_IN", "create_console"]


def create_console() -> APIRouter:
    """Return the console's routes and static files. Templates are read here, once."""
    render = Renderer(HERE / "templates")
    pages, actions, sign_in = Pages(render), Actions(render), SignIn(render)
    router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
    get, post = router.get, router.post
    get("/")(pages.overview)
    get("/models/{name}")(pages.model)
    get("/targets")(pages.targets)
    get("/alerts")(pages.alerts)
    get("/alerts/{fingerprint}")(pages.alert)
    get("/rollouts")(pages.rollouts)
    get("/rollouts/{rollout_id}")(pages.rollout)
    get("/notifications")(pages.notifications)
    get("/models/{name}/promote/{version}")(actions.confirm_promotion)
    post("/models/{name}/promote/{version}")(actions.promote)
    get("/models/{name}/rollback")(actions.confirm_rollback)
    post("/models/{name}/rollback")(actions.rollback)
    get("/rollouts/{rollout_id}/abort")(actions.confirm_abort)
    post("/rollouts/{rollout_id}/abort")(actions.abort)
    get(SIGN_IN)(sign_in.page)
    post(SIGN_IN)(sign_in.sign_in)
    post("/sign-out")(sign_in.sign_out)
    router.routes.append(Mount("/static", StaticFiles(directory=HERE / "static")))
    return router
