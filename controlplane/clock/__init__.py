"""A timeline that runs evenly. It steps only when the control plane adopts a step of the wall clock.

Start at `system.py`; `docs/adr/0006-*.md` has the reasons.
"""
