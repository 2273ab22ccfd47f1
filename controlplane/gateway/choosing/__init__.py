"""Choosing: which version and which backend answer a request, now or after a wait in the queue. No I/O, no tasks.

Start at `chooser.py`, which implements the Chooser of the gateway's seams. `pool.py` has one model, `version.py` one
version with its replicas, `held.py` a backend that was acquired. `memory.py` says what the workers share.
"""
