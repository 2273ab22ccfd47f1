"""Annotations of a query: the `warnings` and `infos` of Prometheus 3's answers."""
