"""Drivers: they move traffic between versions of a model.

Start at `driver.py` (the contract) and `triton.py`.
"""
