"""The routes of the pages of alerting."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.web.alerting.alert import AlertPage
from controlplane.web.alerting.bulk import BulkHolding
from controlplane.web.alerting.listing import AlertsPage
from controlplane.web.alerting.notifications import PATH as NOTIFICATIONS
from controlplane.web.alerting.notifications import NotificationsPage
from controlplane.web.alerting.rules import RulesPage
from controlplane.web.alerting.runbooks import RunbookPages
from controlplane.web.alerting.silences import HoldingPages
from controlplane.web.alerting.trying import TryPage
from controlplane.web.render import Renderer


class AlertingPages:
    """All pages of alerting."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add their routes."""
        render = self._render
        BulkHolding(render).add_to(router)
        router.get("/alerts")(AlertsPage(render).page)
        router.get("/alerts/{fingerprint}")(AlertPage(render).page)
        HoldingPages(render).add_to(router)
        router.get(NOTIFICATIONS)(NotificationsPage(render).page)
        router.get("/rules")(RulesPage(render).page)
        router.get("/rules/try")(TryPage(render).page)
        RunbookPages(render).add_to(router)
