"""The web console: pages that the server renders from the API's services. htmx and server-sent events refresh them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from controlplane.api.app import mount_web
from controlplane.api.auth import GuardedRoute
from controlplane.web.actions import Actions
from controlplane.web.alerting.routes import AlertingPages
from controlplane.web.audit import PATH as AUDIT
from controlplane.web.audit import AuditPage
from controlplane.web.backups import BackupsPage
from controlplane.web.badge import AlertBadge
from controlplane.web.dialog import Dialogs
from controlplane.web.keys import KeysPage
from controlplane.web.pages import Pages
from controlplane.web.problem import ProblemPage
from controlplane.web.render import Renderer
from controlplane.web.sign_in import SIGN_IN, SignIn
from controlplane.web.steering import Steering

HERE = Path(__file__).parent


class Assets(StaticFiles):
    """Static files that a browser caches and revalidates at each use, so that an upgrade is visible at once."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Return the file, or 304."""
        answer = super().file_response(*args, **options)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def install_console(app: FastAPI) -> None:
    """Add the console to the API's app."""
    render = Renderer(HERE / "templates")
    mount_web(app, _routes(render), SIGN_IN, ProblemPage(render))


def _routes(render: Renderer) -> APIRouter:
    pages, sign_in, dialogs = Pages(render), SignIn(render), Dialogs(render)
    actions = Actions(dialogs)
    badge = Depends(AlertBadge())
    router = APIRouter(route_class=GuardedRoute, include_in_schema=False, dependencies=[badge])
    get, post = router.get, router.post
    get("/")(pages.overview)
    get("/models/{name}")(pages.model)
    get("/targets")(pages.targets)
    AlertingPages(render).add_to(router)
    get("/rollouts")(pages.rollouts)
    get("/rollouts/{rollout_id}")(pages.rollout)
    get(AUDIT)(AuditPage(render).page)
    KeysPage(render).add_to(router)
    get("/models/{name}/promote/{version}")(actions.confirm_promotion)
    post("/models/{name}/promote/{version}")(actions.promote)
    get("/models/{name}/rollback")(actions.confirm_rollback)
    post("/models/{name}/rollback")(actions.rollback)
    get("/rollouts/{rollout_id}/abort")(actions.confirm_abort)
    post("/rollouts/{rollout_id}/abort")(actions.abort)
    Steering(dialogs).add_to(router)
    BackupsPage(render, dialogs).add_to(router)
    get(SIGN_IN)(sign_in.page)
    post(SIGN_IN)(sign_in.sign_in)
    post("/sign-out")(sign_in.sign_out)
    router.routes.append(Mount("/static", Assets(directory=HERE / "static")))
    return router
