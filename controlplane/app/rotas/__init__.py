"""Rotas in a running process: `part.py` keeps who is on call, `fetching.py` fetches calendars."""
