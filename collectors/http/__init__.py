"""HTTP to targets: one deadline, bounded bodies, credentials and TLS.

Start at `fetch.py`; `plain_http.py` serves targets without TLS.
"""
