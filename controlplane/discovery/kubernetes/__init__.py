"""Objects of a cluster as lists of addresses, with the labels of Prometheus's `kubernetes_sd_configs`.

Start reading at roles.py.
"""
