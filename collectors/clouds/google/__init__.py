"""Google Cloud Monitoring's metrics of Vertex AI. Start reading at `meter.py`."""
