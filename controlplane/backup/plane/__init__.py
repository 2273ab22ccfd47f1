"""The control plane's own backup: its database, fleet.yaml and rule files. Start reading at `collect.py`."""
