"""The driver for nginx. Start at `proxy.py`."""
