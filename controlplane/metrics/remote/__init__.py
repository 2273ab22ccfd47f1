"""Queries that another server answers: Prometheus, Mimir, Thanos or VictoriaMetrics.

Start at `remote_querier.py`.
"""
