"""Accounts for tests: kubeconfigs, programs that make credentials, a clock, and a watch over the log."""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.traffic.driver import NotSent
from controlplane.traffic.kubernetes.account import Account
from controlplane.traffic.kubernetes.resource import service

SECRET = "c2VjcmV0LXRva2Vu"
CHAT = service("llm", "chat")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with caplog.at_level(logging.DEBUG):
        yield
    assert SECRET not in caplog.text


def kubeconfig(folder: Path, user: object, url: str = "http://127.0.0.1:1", **cluster: object) -> Path:
    """Write a kubeconfig whose one user has these fields."""
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return file


def program(folder: Path, body: str) -> dict[str, Any]:
    """Return a user whose credentials a program makes. `body` is Python; `print` is its output."""
    file = folder / "make-token"
    file.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(file)}}


def made(status: str) -> str:
    """Return the Python that prints an ExecCredential with a status."""
    credential = f'"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {status}'
    return f"print(json.dumps({{{credential}}}))"


async def fault(file: Path | None, context: str | None = None) -> str:
    with pytest.raises(NotSent) as caught:
        await Account(file, context).client()
    assert SECRET not in str(caught.value)
    return str(caught.value)


async def token(account: Account, refused: int | None = None) -> tuple[str | None, int]:
    client, reading = await account.client(refused)
    return client.configuration.api_key.get("BearerToken"), reading
