"""The driver for LoRA adapters in vLLM. Start at `driver.py`."""
