"""Queries answered by another server: Prometheus, Mimir, Thanos or VictoriaMetrics.

Start at `remote_querier.py`.
"""
