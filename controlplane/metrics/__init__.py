"""Samples from storage to answers: an embedded series store, PromQL over it, and other servers in its place.

Layers, lowest first: `arrays`, `storage`, `series`, `promql` and `write`, `query`, `remote` and `origins`.
Start at `series/series_store.py` for what is stored and at `query/queries.py` for what is asked.
"""
