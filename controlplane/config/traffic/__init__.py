"""The drivers in fleet.yaml: the fields of `traffic:`, one module for each driver. Start at `base.py`."""
