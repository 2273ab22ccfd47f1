"""HTTP/1.1 of both sides of the gateway: connections, heads, timers, TLS."""
