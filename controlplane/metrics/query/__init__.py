"""Queries as the rest of the control plane asks them: asynchronous, bounded, in processes of their own.

Start at `queries.py` (the interface) and `querier.py` (the embedded store behind it).
"""
