"""Where messages go: Slack and the log. A message is neutral; each notifier draws it in its own way.

Start at `card.py`.
"""
