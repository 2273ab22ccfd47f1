"""An S3 server of the tests' own, which can fail in every way that networks and stores do. Start at `server.py`."""
