"""The load that engines report. Their metrics are read every few seconds; a full engine gets no request for a while.

`gauges.py` reads one body of metrics, `watch.py` asks all engines.
"""
