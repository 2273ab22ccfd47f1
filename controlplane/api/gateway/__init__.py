"""Routes about the clients of gateways: their API keys."""
