"""The parts that drivers of proxies share. Start at `driver.py`; a proxy implements `routing.py`."""
