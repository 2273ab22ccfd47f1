"""Lists of targets that need a client of `controlplane`, such as the API server of a cluster."""
