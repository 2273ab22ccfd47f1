"""Parts of bench_gateway.py: the proxies, their engine, and the load."""
