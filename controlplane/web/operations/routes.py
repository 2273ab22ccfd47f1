"""The routes of the pages of operations."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.web.dialog import Dialogs
from controlplane.web.operations.access import AccessPage
from controlplane.web.operations.audit import PATH as AUDIT
from controlplane.web.operations.audit import AuditPage
from controlplane.web.operations.backups import BackupsPage
from controlplane.web.operations.cost import PATH as COST
from controlplane.web.operations.cost import CostPage
from controlplane.web.operations.gateway import PATH as GATEWAY
from controlplane.web.operations.gateway import GatewayPage
from controlplane.web.operations.keys import KeysPage
from controlplane.web.operations.system import SystemPage
from controlplane.web.render import Renderer


def add_operations(router: APIRouter, render: Renderer, dialogs: Dialogs) -> None:
    """Add the routes of all pages of operations."""
    router.get(GATEWAY)(GatewayPage(render).page)
    router.get(COST)(CostPage(render).page)
    router.get(AUDIT)(AuditPage(render).page)
    KeysPage(render).add_to(router)
    BackupsPage(render, dialogs).add_to(router)
    AccessPage(render).add_to(router)
    SystemPage(render).add_to(router)
