"""Queries for the rest of the control plane: asynchronous, bounded, and ad-hoc ones in processes of their own.

Start at `queries.py` (the interface) and `querier.py` (the embedded store behind it).
"""
