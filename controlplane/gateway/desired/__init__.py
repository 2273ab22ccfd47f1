"""The desired state of a gateway: what it serves, with which weights, for whom. Start at `document.py`."""
