"""Routes about gateways: their desired state and reports, their clients' API keys, and usage."""
