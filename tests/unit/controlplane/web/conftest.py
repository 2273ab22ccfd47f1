"""The console over the API's rig: real stores on SQLite, and a browser that holds cookies but runs no script."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from alerts.interfaces import AlertInstance, AlertState, Transition, fingerprint
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.store.database import Database
from controlplane.web.console import install_console
from tests.fakes.migrated import write_migrated
from tests.unit.controlplane.api.conftest import NOW, Rig

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HTMX = {"HX-Request": "true", "Accept": "*/*"}


class Console:
    """The app with its console."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def app(self) -> FastAPI:
        app = self.rig.app()
        install_console(app)
        return app

    @asynccontextmanager
    async def browser(self, role: Role | None, app: FastAPI | None = None) -> AsyncIterator[Browser]:
        """Yield a browser that has signed in, or a signed-out one for None."""
        async with self.rig.client(None, app or self.app()) as client:
            client.headers.update(HTML)
            browser = Browser(client)
            if role is not None:
                answer = await browser.sign_in(self.rig.role_tokens[role])
                assert answer.status_code == 303
            yield browser

    def alert(
        self,
        name: str = "Hot",
        state: AlertState = AlertState.FIRING,
        *,
        annotations: dict[str, str] | None = None,
        away: tuple[str, ...] = (),
        **labels: str,
    ) -> str:
        """Record an alert that became active 20 s ago, and unknown 5 s ago if targets are `away`.

        Returns its fingerprint.
        """
        every = labels_of({"alertname": name, "severity": "warning"} | labels)
        fired_at = NOW - 10 if state is AlertState.FIRING else None
        rule = f"f;g;{fingerprint(every)}"
        words = labels_of(annotations or {})
        instance = AlertInstance(rule, every, words, state, 93.0, active_at=NOW - 20, fired_at=fired_at)
        instance = replace(instance, away=away, unknown_since=NOW - 5 if away else None)
        transition = Transition(instance, state if away else AlertState.INACTIVE, state, NOW, f"{name} is {state}")
        self.rig.alert_log.record(rule, [instance], [transition])
        return instance.fingerprint


class Browser:
    """Requests as a browser and its script would send them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def sign_in(self, token: str, **more: str) -> httpx.Response:
        return await self.client.post("/sign-in", data={"token": token, **more})

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    async def dialog(self, path: str) -> str:
        answer = await self.client.get(path, headers=HTMX)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def csrf(self) -> str:
        found = re.search(r'"X-CSRF-Token": "([0-9a-f]{64})"', await self.page("/targets"))
        assert found
        return found[1]

    async def confirm(self, path: str, key: str) -> httpx.Response:
        headers = {**HTMX, "X-CSRF-Token": await self.csrf()}
        return await self.client.post(path, headers=headers, data={"key": key})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    db = Database(write_migrated(tmp_path / "cp.db"))
    yield Rig(db)
    db.close()


@pytest.fixture
def console(rig: Rig) -> Console:
    return Console(rig)
