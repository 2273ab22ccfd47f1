"""Azure Monitor's metrics of Azure OpenAI. Start reading at `meter.py`."""
