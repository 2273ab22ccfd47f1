"""Settings of what Prometheus Operator's monitors find: their cluster, parts of shared lists, words for made rules."""
