"""The Prometheus HTTP API beside queries: federation, remote read, targets, rules, alerts and status."""
