"""Remote write: samples that other programs send to this server, and samples that it sends to other servers.

Start at `ingest.py` for received samples, and at `tee.py`, then `shipping/`, for sent ones.
"""
