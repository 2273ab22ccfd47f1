"""Notifiers: each delivers to one kind of receiver (alerts.interfaces.Notifier).

`card.py` is the text that all of them send, `plain.py` the second try of a message that is refused for its form, and
`http.py` the client of those over HTTP. `slack/` is Slack by a bot token. `chat/` has incoming webhooks of chat
programs, `paging/` on-call services.
"""
