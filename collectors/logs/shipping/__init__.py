"""Shipping on: lines of logs, masked, to Loki, Elasticsearch, OpenSearch and collectors of OpenTelemetry."""
