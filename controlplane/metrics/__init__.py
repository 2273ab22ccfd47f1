"""Metrics: an embedded series store, PromQL over it, and clients for other metrics servers that replace both.

Layers, lowest first: `arrays`, `storage`, `series`, `promql` and `write`, `query`, `remote` and `origins`.
Start at `series/series_store.py` for writing and at `query/queries.py` for queries.
"""
