"""Jobs of a prometheus.yml. `jobs.py` reads the file; start there."""
