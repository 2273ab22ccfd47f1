"""Verbs about gateways and their clients: the list of gateways, API keys, usage. They speak HTTP only."""
