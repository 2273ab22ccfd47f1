"""The desired state on its way to the workers: from a control plane, the own fleet.yaml, or the disk.

Start at `sources.py`. `applying.py` hands a state to limits and workers, `last_good.py` keeps it on disk.
"""
