"""Routing of alerts as Alertmanager does it: a tree of routes with matchers, time intervals, and inhibition. Pure.

`config.py` reads an `alertmanager.yml` into a `Routing`. `tree.py` finds the routes of an alert.
"""
