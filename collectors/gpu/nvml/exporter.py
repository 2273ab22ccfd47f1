"""`controlplane nvml-exporter`: serves this host's GPU metrics over HTTP, for a control plane on another host."""

from __future__ import annotations

from collections.abc import Callable

from collectors.gpu.nvml.source import NvmlSource
from collectors.http.exporter import serve

DEFAULT_LISTEN = "127.0.0.1:9401"
"""The port next to dcgm-exporter's 9400."""


def serve_exporter(
    listen: str = DEFAULT_LISTEN, node: str = "", on_listening: Callable[[str], None] = lambda _url: None
) -> None:
    """Serve `/metrics` until SIGINT or SIGTERM. `on_listening` gets the URL once connections are accepted.

    Raises NvmlUnavailable at once on a host without a driver, and CollectorError when `listen` cannot be bound.
    """
    serve(listen, lambda: NvmlSource(node=node), on_listening)
