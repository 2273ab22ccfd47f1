"""This host's GPUs: `NvmlSource` for the scrape loop, `serve_exporter` for hosts other than the control plane's."""

from __future__ import annotations

from collectors.nvml_exporter import DEFAULT_LISTEN, run_exporter, serve_exporter
from collectors.nvml_source import NvmlSource

__all__ = ["DEFAULT_LISTEN", "NvmlSource", "run_exporter", "serve_exporter"]
