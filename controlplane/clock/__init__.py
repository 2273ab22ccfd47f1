"""A timeline that runs evenly and steps only on request, and the times of the calendar.

Start at `system.py` and `calendar.py`; `docs/adr/0006-*.md` and `docs/adr/0014-*.md` have the reasons.
"""
