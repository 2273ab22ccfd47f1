"""The web console: pages that the server renders from the API's services. htmx and server-sent events refresh them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from controlplane.api.app import mount_web
from controlplane.web.actions import Actions
from controlplane.web.alerting.routes import AlertingPages
from controlplane.web.badge import AlertBadge
from controlplane.web.dialog import Dialogs
from controlplane.web.fleet.page import FleetPage
from controlplane.web.fleet.targets import TargetsPage
from controlplane.web.live import LiveRoute, Parts
from controlplane.web.models.page import ModelPage
from controlplane.web.models.query import PATH as QUERY
from controlplane.web.models.query import QueryPage
from controlplane.web.models.rollouts import PATH as ROLLOUTS
from controlplane.web.models.rollouts import RolloutPages
from controlplane.web.operations.routes import add_operations
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
    app.state.parts = Parts()
    mount_web(app, _routes(render), SIGN_IN, ProblemPage(render))


def _routes(render: Renderer) -> APIRouter:
    sign_in, dialogs = SignIn(render), Dialogs(render)
    actions, rollouts = Actions(dialogs), RolloutPages(render)
    badge = Depends(AlertBadge())
    router = APIRouter(route_class=LiveRoute, include_in_schema=False, dependencies=[badge])
    get, post = router.get, router.post
    get("/")(FleetPage(render).page)
    get("/models/{name}")(ModelPage(render).page)
    get("/targets")(TargetsPage(render).page)
    get(ROLLOUTS)(rollouts.list)
    get("/rollouts/{rollout_id}")(rollouts.page)
    get(QUERY)(QueryPage(render).page)
    add_operations(router, render, dialogs)
    AlertingPages(render).add_to(router)
    get("/models/{name}/promote/{version}")(actions.confirm_promotion)
    post("/models/{name}/promote/{version}")(actions.promote)
    get("/models/{name}/rollback")(actions.confirm_rollback)
    post("/models/{name}/rollback")(actions.rollback)
    get("/rollouts/{rollout_id}/abort")(actions.confirm_abort)
    post("/rollouts/{rollout_id}/abort")(actions.abort)
    Steering(dialogs).add_to(router)
    get(SIGN_IN)(sign_in.page)
    post(SIGN_IN)(sign_in.sign_in)
    post("/sign-out")(sign_in.sign_out)
    router.routes.append(Mount("/static", Assets(directory=HERE / "static")))
    return router
