"""Incoming webhooks of chat programs: one URL, one message a post, no threads. Start at `bot.py`."""
