"""What other programs ask of a Prometheus server, beside queries."""
