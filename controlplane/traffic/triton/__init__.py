"""The driver for Triton servers. Start at `driver.py`."""
