"""Samples that come from others by remote write, and samples that are sent on to others.

Start at `ingest.py` for the first and at `tee.py`, then `shipping/`, for the second.
"""
