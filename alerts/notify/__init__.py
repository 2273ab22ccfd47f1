"""Notifiers: Slack and the log. A message has no markup; each notifier renders it.

Start at `card.py`.
"""
