"""Verbs about files that people keep: the catalogue, and the Grafana dashboards."""
