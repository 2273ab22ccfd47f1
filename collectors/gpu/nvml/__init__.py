"""This host's GPUs, read through NVML in a process of its own.

Start at `source.py`, which a scrape calls. `exporter.py` serves the same text to a control plane on another host.
This module imports nothing, so that the process of `child.py` stays small.
"""
