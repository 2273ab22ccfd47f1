"""ServiceMonitors and PodMonitors of Prometheus Operator as groups of targets.

Start reading at jobs.py, which makes the groups of one monitor. following.py reads the monitors of a cluster.
"""
