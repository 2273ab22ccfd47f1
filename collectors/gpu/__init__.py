"""GPUs: NVML on this host, and dcgm-exporter's traps.

This module imports nothing, so that the process of `nvml/child.py` stays small.
"""
