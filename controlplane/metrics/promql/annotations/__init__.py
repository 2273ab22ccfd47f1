"""What is odd about a query or its data: the `warnings` and `infos` of Prometheus 3's answers."""
