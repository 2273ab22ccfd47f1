"""A timeline that runs evenly and steps only when it is told to.

Start at `system.py`; `docs/adr/0006-*.md` has the reasons.
"""
