"""Slack by a bot token. `notifier.py` sends a message, `api.py` calls the Web API, within the limits of `limits.py`."""
