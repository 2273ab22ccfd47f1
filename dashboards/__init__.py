"""Grafana dashboards as code, based on grafanalib.

`boards/` has one function a dashboard. `panels.py` has the panels, `board.py` what is around them, `generate.py`
writes the files, and `grafana.py` keeps a running Grafana equal to them. All take over limits and addresses from
`settings.py`.
"""
