"""The console: pages rendered on the server with Jinja2, kept current by server-sent events.

Start at `console.py` (the routes), then `fleet`, `models`, `alerting` and `operations` (the pages).
"""
