"""Metrics that a cloud keeps of hosted models, in whole periods and minutes late. Start reading at `source.py`."""
