"""The driver for Envoy. Start at `proxy.py`."""
