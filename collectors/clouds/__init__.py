"""Hosted APIs as members of the fleet: their usage and costs, read from the provider. Start reading at `source.py`."""
