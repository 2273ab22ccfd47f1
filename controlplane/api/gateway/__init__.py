"""Routes about the clients of gateways: their API keys and their usage."""
