"""Alerting: rules, the states of alerts, groups of alerts, and messages about them.

Start at `evaluate.py` and `state.py`, then `dispatch/decide.py` and `sender.py`.
`interfaces.py` declares what the control plane must supply.
"""
