"""Rotas: calendars that say who is on call. Start at `calendar.py`; `expansion.py` runs in a process of its own."""
