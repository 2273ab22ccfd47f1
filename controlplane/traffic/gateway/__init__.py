"""The driver of models behind this product's gateways. Start at `driver.py`."""
