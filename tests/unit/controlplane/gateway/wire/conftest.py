"""Tests of the gateway's data path run on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loop of the gateway's workers."""
    return {"uvloop": uvloop.new_event_loop}
