"""The driver for Kubernetes: weights of a route, a group of services, or a selector. Start at `proxy.py`."""
