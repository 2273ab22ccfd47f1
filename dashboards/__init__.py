"""Grafana dashboards as code.

Start at `fleet.py` and `panels.py`; `generate.py` writes the files.
"""
