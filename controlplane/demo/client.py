"""`demo fault` and `demo load`: talk to the running demo's simulators and load generator."""

from __future__ import annotations

import os
from typing import Any

import httpx

from controlplane.config.context import contexts_path
from controlplane.demo.faults import CLEAR, SECRET_HEADER
from controlplane.demo.state import DemoState, find_state
from controlplane.errors import NotFound, Unavailable

_TIMEOUT_S = 5.0


def running_demo() -> DemoState:
    """The demo that the CLI's contexts name. Raises DemoNotRunning."""
    return find_state(contexts_path(os.environ), os.environ.get("CP_CONTEXT", ""))


def fault(name: str, state: DemoState | None = None) -> str:
    """Put a fault into the running demo (or `clear` all) and say what is active then.

    Raises NotFound for a fault that does not exist, Unavailable where no demo answers.
    """
    state = state or running_demo()
    answer = _request("POST", state.admin_url + "/fault", {SECRET_HEADER: state.admin_secret}, {"name": name})
    active = answer["active"]
    if name == CLEAR:
        return "no fault is active"
    available = answer["available"]
    return "active: " + "; ".join(f"{each} ({available[each]})" for each in active)


def load_stats(state: DemoState | None = None) -> dict[str, Any]:
    """Return the load generator's counts by destination. Raises Unavailable where no demo answers."""
    return _request("GET", (state or running_demo()).load_url + "/stats", {}, None)


def load_lines(stats: dict[str, Any]) -> list[str]:
    """Return one line for each destination, with its first errors below."""
    lines = []
    for counts in stats["destinations"].values():
        lines.append(f"load: {counts['line']}")
        lines += [f"  {error}" for error in counts["errors"]]
    return lines


def _request(method: str, url: str, headers: dict[str, str], body: dict[str, str] | None) -> dict[str, Any]:
    try:
        response = httpx.request(method, url, headers=headers, json=body, timeout=_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        raise Unavailable(f"the demo does not answer at {url}: {error}") from error
    if response.status_code == 404:
        raise NotFound(response.json()["detail"])
    if response.status_code != 200:
        raise Unavailable(f"the demo answered {response.status_code} at {url}: {response.text[:200]}")
    answer: dict[str, Any] = response.json()
    return answer
