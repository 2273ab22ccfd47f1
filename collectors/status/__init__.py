"""Sources of engines without a page of metrics: their status APIs, turned into metrics. Every read is free of effects.

Start at `source.py`.
"""
