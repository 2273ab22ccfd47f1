"""ServiceMonitors, PodMonitors, Probes and ScrapeConfigs of Prometheus Operator as groups of targets.

Start reading at jobs.py, which makes the groups of one monitor; probes.py and scrape_configs.py do so for Probes and
ScrapeConfigs. following.py reads the monitors of a cluster.
"""
