"""Traces: W3C trace context, and the export of one OpenTelemetry span for each request.

Start at `tracer.py`, which begins a span. `span.py` makes OTLP of it at the request's end, `exporter.py` sends it.
"""
