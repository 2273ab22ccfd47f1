"""The driver for HAProxy. Start at `proxy.py`."""
